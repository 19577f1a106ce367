/* One row of a table for each kind of object; lists, answers and watches share them. */
#pragma once

#include <stdint.h>

#include "bpfleet/v1/node.pb-c.h"

struct sheet;

void rows_bundle_columns(struct sheet *sheet);
void rows_bundle(struct sheet *sheet, const Bpfleet__V1__BundleInfo *bundle, uint64_t now_ns);
void rows_instance_columns(struct sheet *sheet);
void rows_instance(struct sheet *sheet, const Bpfleet__V1__Instance *instance, uint64_t now_ns);
void rows_program_columns(struct sheet *sheet);
void rows_program(struct sheet *sheet, const Bpfleet__V1__Program *program);
void rows_foreign_columns(struct sheet *sheet);
void rows_foreign(struct sheet *sheet, const Bpfleet__V1__ForeignProgram *program, uint64_t now_ns);
void rows_link_columns(struct sheet *sheet);
void rows_link(struct sheet *sheet, const Bpfleet__V1__Link *link);
void rows_map_columns(struct sheet *sheet);
void rows_map(struct sheet *sheet, const Bpfleet__V1__Map *map);
