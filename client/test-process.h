/* For tests: the CLI as a process, its output gathered. */
#pragma once

#include <sys/types.h>

#define PROCESS_OUTPUT_MAX 65536
#define PROCESS_ARGUMENTS_MAX 24

struct process {
	pid_t pid;
	int out_fd;
	int err_fd;
	int tty_fd;    /* the other side of its controlling terminal, or -1 */
	int exit_code; /* 256 + the signal that ended it */
	char out[PROCESS_OUTPUT_MAX];
	char err[PROCESS_OUTPUT_MAX];
};

/* The executable that the functions below run, and the value of $BPFLEET_SOCKET for it. */
extern const char *process_program;
extern const char *process_socket;

/* Starts it with the words of `line`, split at spaces; {} in a word stands for a space. */
struct process *process_start(const char *line);
/* The same with a controlling terminal of its own, which it may ask for a password. */
struct process *process_start_on_tty(const char *line);
/* Waits until its standard output holds the text; ends the test program after ten seconds. */
void process_await(struct process *process, const char *text);
/* The same for its standard error. */
void process_await_err(struct process *process, const char *text);
/* Waits until its terminal has shown the text. */
void process_await_tty(struct process *process, const char *text);
/* Gathers the rest of the output and the exit code; ends the test program after a minute. */
void process_finish(struct process *process);
void process_free(struct process *process);

/* Start and finish; the result is valid until the next call. */
const struct process *process_run(const char *line);
