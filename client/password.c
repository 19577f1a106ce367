#define _GNU_SOURCE
#include "client/password.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/error.h"
#include "bundle/minisign.h"
#include "client/cli.h"
#include "client/file.h"

#define SECRET_KEY_FILE_MAX 4096

void password_free(char *password)
{
	if (password != NULL)
		sodium_free(password);
}

static int secret_new(size_t size, char **ret, struct error *err)
{
	char *secret;

	if (sodium_init() < 0)
		return error_raise(err, ERROR_INTERNAL, "libsodium does not start");
	secret = sodium_malloc(size);
	if (secret == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory that can be locked");
	secret[0] = '\0';
	*ret = secret;
	return 0;
}

int password_read_key(const char *path, char **ret, size_t *ret_n, struct error *err)
{
	_cleanup_(password_freep) char *text = NULL;
	int r;

	r = secret_new(SECRET_KEY_FILE_MAX + 1, &text, err);
	if (r == 0)
		r = file_read_into(path, text, SECRET_KEY_FILE_MAX + 1, ret_n, err);
	if (r == 0)
		*ret = TAKE_PTR(text);
	return r;
}

/* Reads keys up to Enter; the terminal does not interpret them. */
static int read_keys(int tty, char *out, struct error *err)
{
	size_t n = 0;
	char c;

	for (;;) {
		ssize_t got = read(tty, &c, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return error_raise_errno(err, ERROR_IO, got < 0 ? errno : EIO,
						 "cannot read the terminal");
		if (c == '\n' || c == '\r')
			break;
		if (c == 3 || c == 4) /* Ctrl-C, Ctrl-D */
			return error_raise(err, ERROR_CANCELLED, "no password was given");
		if (c == 21) /* Ctrl-U */
			n = 0;
		else if (c == 127 || c == 8)
			n -= n > 0;
		else if (n < MINISIGN_PASSWORD_MAX)
			out[n++] = c;
	}
	out[n] = '\0';
	return 0;
}

static int ask(int tty, const char *prompt, char *out, struct error *err)
{
	struct termios before, quiet;
	int r;

	if (tcgetattr(tty, &before) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot use the terminal");
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
	quiet.c_cc[VMIN] = 1;
	quiet.c_cc[VTIME] = 0;
	if (tcsetattr(tty, TCSAFLUSH, &quiet) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot use the terminal");
	(void)dprintf(tty, "%s: ", prompt);
	r = read_keys(tty, out, err);
	(void)dprintf(tty, "\n");
	(void)tcsetattr(tty, TCSAFLUSH, &before);
	return r;
}

static int from_terminal(struct cli *cli, const char *prompt, bool confirm, char *out,
			 struct error *err)
{
	_cleanup_(password_freep) char *again = NULL;
	_cleanup_close_ int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int r;

	if (tty < 0)
		return cli_usage(cli, err,
				 "there is no terminal to ask for a password; give it with "
				 "--password-file");
	r = ask(tty, prompt, out, err);
	if (r < 0 || !confirm)
		return r;
	r = secret_new(MINISIGN_PASSWORD_MAX + 1, &again, err);
	if (r == 0)
		r = ask(tty, "Once more", again, err);
	if (r == 0 && strcmp(out, again) != 0)
		r = error_raise(err, ERROR_KEY_PASSWORD, "the two passwords differ");
	return r;
}

static int from_file(const char *path, char *out, struct error *err)
{
	_cleanup_(password_freep) char *text = NULL;
	size_t n, line, size = MINISIGN_PASSWORD_MAX + sizeof("\r\n") + 1;
	int r;

	r = secret_new(size, &text, err);
	if (r == 0)
		r = file_read_into(path, text, size, &n, err);
	if (r < 0)
		return r;
	line = strcspn(text, "\r\n");
	if (line > MINISIGN_PASSWORD_MAX)
		return error_raise(err, ERROR_KEY_PASSWORD, "a password has at most %d bytes",
				   MINISIGN_PASSWORD_MAX);
	memcpy(out, text, line);
	out[line] = '\0';
	return 0;
}

int password_get(struct cli *cli, const char *prompt, bool confirm, char **ret, struct error *err)
{
	const char *path = cli_text(&cli->args, OPTION_PASSWORD_FILE, NULL);
	_cleanup_(password_freep) char *password = NULL;
	int r;

	r = secret_new(MINISIGN_PASSWORD_MAX + 1, &password, err);
	if (r == 0)
		r = path != NULL ? from_file(path, password, err)
				 : from_terminal(cli, prompt, confirm, password, err);
	if (r < 0)
		return r;
	if (password[0] == '\0')
		return cli_usage(cli, err,
				 "an empty password protects nothing; `key generate "
				 "--no-password` makes a key without one");
	*ret = TAKE_PTR(password);
	return 0;
}
