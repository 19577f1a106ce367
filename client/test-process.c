#define _GNU_SOURCE
#include "client/test-process.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

const char *process_program;
const char *process_socket;

static void die(const char *what, const char *detail)
{
	(void)fprintf(stderr, "process: %s: %s\n", what, detail);
	abort();
}

static void split(char *line, char **argv)
{
	size_t n = 0;
	char *word, *gap;

	argv[n++] = (char *)process_program;
	while ((word = strsep(&line, " ")) != NULL) {
		if (word[0] == '\0')
			continue;
		while ((gap = strstr(word, "{}")) != NULL) {
			gap[0] = ' ';
			memmove(gap + 1, gap + 2, strlen(gap + 2) + 1);
		}
		if (n >= PROCESS_ARGUMENTS_MAX - 1)
			die("too many words", word);
		argv[n++] = word;
	}
	argv[n] = NULL;
}

static void run_child(const char *line, int out_fd, int err_fd)
{
	char *argv[PROCESS_ARGUMENTS_MAX], copy[4096];

	(void)snprintf(copy, sizeof(copy), "%s", line);
	split(copy, argv);
	if (dup2(out_fd, STDOUT_FILENO) < 0 || dup2(err_fd, STDERR_FILENO) < 0)
		_exit(126);
	if (process_socket != NULL)
		(void)setenv("BPFLEET_SOCKET", process_socket, 1);
	(void)execv(process_program, argv);
	_exit(127);
}

static struct process *start(const char *line, bool on_tty)
{
	struct process *process = calloc(1, sizeof(*process));
	int out[2], err[2];

	if (process == NULL || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		die("cannot start", line);
	process->tty_fd = -1;
	process->pid = on_tty ? forkpty(&process->tty_fd, NULL, NULL, NULL) : fork();
	if (process->pid < 0)
		die("cannot fork", line);
	if (process->pid == 0) {
		/* Not the terminal of whoever runs the tests. */
		if (!on_tty)
			(void)setsid();
		run_child(line, out[1], err[1]);
	}
	(void)close(out[1]);
	(void)close(err[1]);
	process->out_fd = out[0];
	process->err_fd = err[0];
	return process;
}

struct process *process_start(const char *line)
{
	return start(line, false);
}

struct process *process_start_on_tty(const char *line)
{
	return start(line, true);
}

/* Appends what there is to read; false at the end. */
static bool gather(int fd, char *text)
{
	size_t used = strlen(text);
	ssize_t n;

	if (used + 1 >= PROCESS_OUTPUT_MAX)
		die("too much output", text + used - 80);
	n = read(fd, text + used, PROCESS_OUTPUT_MAX - 1 - used);
	if (n <= 0)
		return false;
	text[used + (size_t)n] = '\0';
	return true;
}

static void await(int fd, char *seen, const char *text)
{
	uint64_t deadline = clock_monotonic_ns() + 10 * NS_PER_SEC;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (strstr(seen, text) == NULL) {
		if (poll(&p, 1, clock_poll_ms(deadline)) <= 0 || !gather(fd, seen))
			die("it did not say", text);
	}
}

void process_await(struct process *process, const char *text)
{
	await(process->out_fd, process->out, text);
}

void process_await_err(struct process *process, const char *text)
{
	await(process->err_fd, process->err, text);
}

void process_await_tty(struct process *process, const char *text)
{
	static char seen[PROCESS_OUTPUT_MAX];

	seen[0] = '\0';
	await(process->tty_fd, seen, text);
}

void process_finish(struct process *process)
{
	uint64_t deadline = clock_monotonic_ns() + 60 * NS_PER_SEC;
	struct pollfd p[2] = {
		{ .fd = process->out_fd, .events = POLLIN },
		{ .fd = process->err_fd, .events = POLLIN },
	};
	int status;

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, clock_poll_ms(deadline)) <= 0)
			die("it does not end", process->err);
		if (p[0].revents != 0 && !gather(p[0].fd, process->out))
			p[0].fd = -1;
		if (p[1].revents != 0 && !gather(p[1].fd, process->err))
			p[1].fd = -1;
	}
	if (waitpid(process->pid, &status, 0) != process->pid)
		die("cannot wait", process->err);
	process->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

void process_free(struct process *process)
{
	if (process == NULL)
		return;
	(void)close(process->out_fd);
	(void)close(process->err_fd);
	if (process->tty_fd >= 0)
		(void)close(process->tty_fd);
	free(process);
}

const struct process *process_run(const char *line)
{
	static struct process *last;

	process_free(last);
	last = process_start(line);
	process_finish(last);
	return last;
}
