#include "decode/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "google/protobuf/any.pb-c.h"
#include "google/rpc/status.pb-c.h"

static void assert_message(const void *message, unsigned int flags, const char *expected)
{
	struct error err = { 0 };
	struct str s = { 0 };

	assert_int_equal(json_append_message(&s, message, flags, &err), 0);
	assert_string_equal(s.data, expected);
	str_done(&s);
}

static char *text(const char *constant)
{
	return (char *)(uintptr_t)constant;
}

static void names_numbers_enums_and_bytes_follow_proto3_json(void **state)
{
	Bpfleet__V1__Map map = BPFLEET__V1__MAP__INIT;
	Bpfleet__V1__GetMapResponse response = BPFLEET__V1__GET_MAP_RESPONSE__INIT;
	uint8_t bytes[] = { 0xfb, 0xff, 0, 1 };

	(void)state;
	map.name = text("instances/a/maps/\"m\"");
	map.key_size = 4294967295;
	map.access = BPFLEET__V1__ACCESS__ACCESS_READ;
	map.contents = (Bpfleet__V1__Contents)77;
	map.frozen = 1;
	response.map = &map;
	response.btf.data = bytes;
	response.btf.len = 4;
	assert_message(&response, 0,
		       "{\"map\":{\"name\":\"instances/a/maps/\\\"m\\\"\",\"keySize\":4294967295,"
		       "\"access\":\"ACCESS_READ\",\"contents\":77,\"frozen\":true},"
		       "\"btf\":\"+/8AAQ==\"}");
	response.btf.len = 3;
	response.map = NULL;
	assert_message(&response, 0, "{\"btf\":\"+/8A\"}");
	response.btf.len = 2;
	assert_message(&response, 0, "{\"btf\":\"+/8=\"}");
}

static void integers_of_64_bits_are_strings(void **state)
{
	Bpfleet__V1__EventBatch batch = BPFLEET__V1__EVENT_BATCH__INIT;
	char *json[] = { text("{}"), text("a") };

	(void)state;
	batch.first_sequence = UINT64_MAX;
	batch.n_json = 2;
	batch.json = json;
	assert_message(&batch, 0,
		       "{\"firstSequence\":\"18446744073709551615\",\"json\":[\"{}\",\"a\"]}");
}

static void defaults_are_printed_on_request(void **state)
{
	Bpfleet__V1__GetUploadResponse upload = BPFLEET__V1__GET_UPLOAD_RESPONSE__INIT;
	Bpfleet__V1__LookupMapRequest lookup = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	Bpfleet__V1__GetMapResponse map = BPFLEET__V1__GET_MAP_RESPONSE__INIT;

	(void)state;
	assert_message(&upload, 0, "{}");
	assert_message(&upload, JSON_DEFAULTS, "{\"receivedBytes\":\"0\"}");
	assert_message(&lookup, JSON_DEFAULTS,
		       "{\"map\":\"\",\"keys\":[],\"keyTexts\":[],"
		       "\"encoding\":\"ENCODING_UNSPECIFIED\"}");
	assert_message(&map, JSON_DEFAULTS, "{\"btf\":\"\"}");
}

static void only_the_chosen_member_of_a_oneof_is_printed(void **state)
{
	Bpfleet__V1__WatchResponse watch = BPFLEET__V1__WATCH_RESPONSE__INIT;
	Bpfleet__V1__PushBundleRequest push = BPFLEET__V1__PUSH_BUNDLE_REQUEST__INIT;
	Bpfleet__V1__Synced synced = BPFLEET__V1__SYNCED__INIT;

	(void)state;
	assert_message(&watch, JSON_DEFAULTS, "{}");
	synced.revision = 5;
	watch.part_case = BPFLEET__V1__WATCH_RESPONSE__PART_SYNCED;
	watch.synced = &synced;
	assert_message(&watch, 0, "{\"synced\":{\"revision\":\"5\"}}");
	push.part_case = BPFLEET__V1__PUSH_BUNDLE_REQUEST__PART_CHUNK;
	assert_message(&push, 0, "{\"chunk\":\"\"}");
}

static void a_status_is_printed_with_its_details_and_their_map(void **state)
{
	Google__Rpc__ErrorInfo__MetadataEntry entry = GOOGLE__RPC__ERROR_INFO__METADATA_ENTRY__INIT,
					      *entries[] = { &entry };
	Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
	Google__Protobuf__Any known = GOOGLE__PROTOBUF__ANY__INIT,
			      unknown = GOOGLE__PROTOBUF__ANY__INIT,
			      *details[] = { &known, &unknown };
	Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
	uint8_t packed[256], other[] = { 1 };

	(void)state;
	entry.key = text("map");
	entry.value = text("a\nb");
	info.reason = text("MAP_FULL");
	info.n_metadata = 1;
	info.metadata = entries;
	assert_true(google__rpc__error_info__get_packed_size(&info) <= sizeof(packed));
	known.type_url = text("type.googleapis.com/google.rpc.ErrorInfo");
	known.value.data = packed;
	known.value.len = google__rpc__error_info__pack(&info, packed);
	unknown.type_url = text("type.googleapis.com/x.Y");
	unknown.value.data = other;
	unknown.value.len = 1;
	status.code = -3;
	status.n_details = 2;
	status.details = details;
	assert_message(
		&status, 0,
		"{\"code\":-3,\"details\":["
		"{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"MAP_FULL\","
		"\"metadata\":{\"map\":\"a\\nb\"}},"
		"{\"@type\":\"type.googleapis.com/x.Y\",\"value\":\"AQ==\"}]}");
	known.value.len = 3;
	status.n_details = 1;
	assert_message(&status, 0,
		       "{\"code\":-3,\"details\":["
		       "{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\","
		       "\"value\":\"CghN\"}]}");
}

static void pretty_output_has_a_member_a_line(void **state)
{
	Bpfleet__V1__LookupMapRequest lookup = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	char *texts[] = { text("a"), text("b") };

	(void)state;
	lookup.map = text("m");
	lookup.n_key_texts = 2;
	lookup.key_texts = texts;
	assert_message(&lookup, JSON_PRETTY,
		       "{\n  \"map\": \"m\",\n  \"keyTexts\": [\n    \"a\",\n    \"b\"\n  ]\n}");
	lookup = (Bpfleet__V1__LookupMapRequest)BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	assert_message(&lookup, JSON_PRETTY, "{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_numbers_enums_and_bytes_follow_proto3_json),
		cmocka_unit_test(integers_of_64_bits_are_strings),
		cmocka_unit_test(defaults_are_printed_on_request),
		cmocka_unit_test(only_the_chosen_member_of_a_oneof_is_printed),
		cmocka_unit_test(a_status_is_printed_with_its_details_and_their_map),
		cmocka_unit_test(pretty_output_has_a_member_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
