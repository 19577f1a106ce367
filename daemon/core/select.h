/*
 * Links whose hook has a selector: such a link is a row and nothing in the kernel, and it has a
 * link of its own for every interface that it selects now. The rows of those name it in
 * selected_by; they come and go with the interfaces, and end with it. Nothing is kept but the rows,
 * so any call may be the one that finds what has changed. Main thread.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct core;
struct request;

/* Compares what is selected with the interfaces there are, begins to attach and to detach. */
void select_resolve(struct core *core);

/*
 * The same after a change to the links of an instance was committed, and the reply to the request
 * (borrowed response, as for request_reply()) as soon as what was begun for that instance has come
 * to an end, one way or the other: the links say how.
 */
void select_reply(struct request *request, const ProtobufCMessage *response, const char *instance);

/* A link of the instance has been attached again, or could not be. */
void select_settled(struct core *core, const char *instance);
