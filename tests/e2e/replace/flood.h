/* What the flood and the programs that number its datagrams agree on. */
#pragma once

#define FLOOD_PORT 7777
/* Datagrams, each with a number of its own; a bit for each is 32 MiB. */
#define FLOOD_NUMBERS (1u << 28)

/* Slots behind those of the two versions. */
enum flood_slot {
	FLOOD_FIRST = 2, /* datagrams seen for the first time, by either version */
	FLOOD_AGAIN,	 /* seen once more */
	FLOOD_N_SLOTS,
};
