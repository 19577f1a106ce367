#include "tests/e2e/hammer/process.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_TENTHS 250

const char *const victim_names[N_VICTIMS] = { "core", "front", "supervisor" };

void daemon_start(struct daemon *daemon)
{
	pid_t pid = fork();

	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		int fd = open(daemon->log, O_WRONLY | O_APPEND | O_CREAT, 0600);

		if (fd >= 0) {
			(void)dup2(fd, 1);
			(void)dup2(fd, 2);
		}
		(void)execl(daemon->program, daemon->program, "--config", daemon->config, NULL);
		_exit(127);
	}
	daemon->pids[VICTIM_SUPERVISOR] = pid;
	daemon->pids[VICTIM_CORE] = daemon->pids[VICTIM_FRONT] = 0;
}

/* The first word of a small file of /proc, "" if there is none. */
static void read_word(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "re");

	out[0] = '\0';
	if (file == NULL)
		return;
	if (fgets(out, (int)size, file) == NULL)
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	(void)fclose(file);
}

bool daemon_look(struct daemon *daemon)
{
	char path[64], children[256], name[32], *rest = children;
	pid_t supervisor = daemon->pids[VICTIM_SUPERVISOR];

	daemon->pids[VICTIM_CORE] = daemon->pids[VICTIM_FRONT] = 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", supervisor, supervisor);
	read_word(path, children, sizeof(children));
	for (long pid = strtol(rest, &rest, 10); pid > 0; pid = strtol(rest, &rest, 10)) {
		(void)snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
		read_word(path, name, sizeof(name));
		if (strcmp(name, "bpfleet-core") == 0)
			daemon->pids[VICTIM_CORE] = (pid_t)pid;
		else if (strcmp(name, "bpfleet-front") == 0)
			daemon->pids[VICTIM_FRONT] = (pid_t)pid;
	}
	return daemon->pids[VICTIM_CORE] > 0 && daemon->pids[VICTIM_FRONT] > 0;
}

void daemon_kill(struct daemon *daemon, enum victim victim)
{
	/* Process 0 would be this one's whole group. */
	if (daemon->pids[victim] <= 0)
		return;
	(void)kill(daemon->pids[victim], SIGKILL);
	if (victim == VICTIM_SUPERVISOR)
		(void)waitpid(daemon->pids[victim], NULL, 0);
}

int daemon_stop(struct daemon *daemon)
{
	int status;

	(void)kill(daemon->pids[VICTIM_SUPERVISOR], SIGTERM);
	for (int i = 0; i < STOP_TENTHS; i++) {
		if (waitpid(daemon->pids[VICTIM_SUPERVISOR], &status, WNOHANG) > 0)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		(void)usleep(100000);
	}
	daemon_kill(daemon, VICTIM_SUPERVISOR);
	return -1;
}

/* ---- fds */

static void append(uint32_t **ids, size_t *n, uint32_t id)
{
	*ids = reallocarray(*ids, *n + 1, sizeof(**ids));
	if (*ids == NULL)
		err(2, "memory");
	(*ids)[(*n)++] = id;
}

static void note_fd(const char *path, struct fd_census *census)
{
	FILE *file = fopen(path, "re");
	bool link = false;
	unsigned int id;
	char line[128];

	if (file == NULL)
		return;
	census->n_fds++;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "map_id: %u", &id) == 1)
			append(&census->map_ids, &census->n_maps, id);
		if (sscanf(line, "link_id: %u", &id) == 1) {
			append(&census->link_ids, &census->n_links, id);
			link = true;
		}
		if (!link && sscanf(line, "prog_id: %u", &id) == 1)
			append(&census->program_ids, &census->n_programs, id);
	}
	(void)fclose(file);
}

void fd_census_take(pid_t pid, struct fd_census *ret)
{
	char path[PATH_MAX];
	const struct dirent *entry;
	DIR *folder;

	*ret = (struct fd_census){ 0 };
	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	folder = opendir(path);
	if (folder == NULL)
		return;
	while ((entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", pid, entry->d_name);
		note_fd(path, ret);
	}
	(void)closedir(folder);
}

void fd_census_done(struct fd_census *census)
{
	free(census->map_ids);
	free(census->program_ids);
	free(census->link_ids);
	*census = (struct fd_census){ 0 };
}
