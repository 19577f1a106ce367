/*
 * Names the points between the durable and the kernel steps of a change. In bpfleet-core this does
 * nothing; the crash tests link another step.c, which kills the process at the point asked for.
 */
#pragma once

void core_step(const char *name);
