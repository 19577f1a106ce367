/*
 * IP protocol numbers that are seen on networks, by the lower-case keywords of IANA's registry
 * (https://www.iana.org/assignments/protocol-numbers). A table, so that nothing reads
 * /etc/protocols.
 */
#include "decode/leaf.h"

#include <strings.h>

static const struct {
	uint8_t number;
	const char *name;
} protocols[] = {
	{ 0, "hopopt" },      { 1, "icmp" },	     { 2, "igmp" },	  { 4, "ipv4" },
	{ 6, "tcp" },	      { 17, "udp" },	     { 33, "dccp" },	  { 41, "ipv6" },
	{ 43, "ipv6-route" }, { 44, "ipv6-frag" },   { 46, "rsvp" },	  { 47, "gre" },
	{ 50, "esp" },	      { 51, "ah" },	     { 58, "ipv6-icmp" }, { 59, "ipv6-nonxt" },
	{ 60, "ipv6-opts" },  { 88, "eigrp" },	     { 89, "ospf" },	  { 94, "ipip" },
	{ 97, "etherip" },    { 103, "pim" },	     { 108, "ipcomp" },	  { 112, "vrrp" },
	{ 115, "l2tp" },      { 132, "sctp" },	     { 133, "fc" },	  { 135, "mobility" },
	{ 136, "udplite" },   { 137, "mpls-in-ip" }, { 139, "hip" },	  { 140, "shim6" },
	{ 255, "reserved" },
};

const char *ip_protocol_name(uint64_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (protocols[i].number == number)
			return protocols[i].name;
	}
	return NULL;
}

int ip_protocol_number(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (strlen(protocols[i].name) == n && strncasecmp(protocols[i].name, name, n) == 0)
			return protocols[i].number;
	}
	return -1;
}
