/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/control.h"
#include "core/heap.h"
#include "core/log.h"
#include "webfront/webfront.h"

/*~ granary-web: options -> into STATE/web, which the daemon makes -> key and certificate -> listen
 * -> another user, no capabilities, seccomp -> serve until SIGTERM or SIGINT.
 * It holds no state: it may be ended and started at any time. */
#define DIRECTORY_TRIES 150 /* of 100 ms: the daemon is on its way up */
#define STOP_SECONDS    3

static int enter_directory(const char *state_dir, struct err *err)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000000};
	char *path = heap_printf("%s/web", state_dir);
	int result = -ENOMEM;

	for (unsigned i = 0; path && i < DIRECTORY_TRIES; i++) {
		result = chdir(path) < 0 ? -errno : 0;
		if (result != -ENOENT)
			break;
		nanosleep(&pause, NULL);
	}
	if (result < 0)
		err_set(err, result, "%s/web: %s (has granaryd been started?)", state_dir,
			strerror(-result));
	heap_free(path);
	return result;
}

static int bind_address(const char *name, uint16_t port, struct err *err)
{
	const int on = 1, off = 0;
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool is_four = name && inet_pton(AF_INET, name, &four.sin_addr) == 1;
	int fd;

	if (name && !is_four && inet_pton(AF_INET6, name, &address.sin6_addr) != 1)
		return err_set(err, -EINVAL, "%s is no address", name);
	fd = is_four ? -1 : socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 && (is_four || !name)) { /* also a machine without IPv6 */
		is_four = true;
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	if (fd < 0)
		return err_set(err, -errno, "socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (!is_four)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&address,
		 is_four ? sizeof four : sizeof address) == 0 &&
	    listen(fd, 128) == 0)
		return fd;
	err_set(err, -errno, "port %u: %s", port, strerror(errno));
	close(fd);
	return err->code;
}

static unsigned port_of(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;

	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return 0;
	return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
						   : ((struct sockaddr_in *)&address)->sin_port);
}

static void print_ready(const struct front_options *options, unsigned port,
			const struct front_certificate *certificate)
{
	const char *host = options->bind ? options->bind : "localhost";

	printf(strchr(host, ':') ? "WEB https://[%s]:%u/\n" : "WEB https://%s:%u/\n",
	       strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ? "localhost" : host, port);
	printf("    certificate SHA-256 %s%s\n", certificate->fingerprint,
	       certificate->made ? " (just made, signed by itself)" : "");
	fflush(stdout);
}

static void out_of_time(int signal)
{
	(void)signal;
	_exit(0); /* a request still waits for the daemon; nothing here is of value */
}

static int start(const struct front_options *options, struct err *err)
{
	struct front_certificate certificate, shown;
	unsigned port;
	int listener, result = enter_directory(options->state_dir, err);

	if (result == 0)
		result = front_certificate_load(options, &certificate, err);
	if (result < 0)
		return result;
	front_hosts_set(options->hosts, options->host_count);
	listener = bind_address(options->bind, options->port, err);
	if (listener < 0)
		return listener;
	port = port_of(listener);
	result = front_confine(err);
	if (result == 0)
		result = front_watch_start(err);
	shown = certificate; /* for its fingerprint: the rest is taken over */
	if (result == 0)
		result = front_serve(listener, &certificate, err);
	if (result == 0)
		print_ready(options, port, &shown);
	front_certificate_free(&certificate);
	return result;
}

int main(int argc, char **argv)
{
	const struct timespec moment = {.tv_nsec = 200 * 1000000};
	struct front_certificate newer;
	struct front_options options;
	struct err err = {0};
	sigset_t signals;
	int status = front_options_read(argc, argv, &options);

	if (status >= 0)
		return status;
	umask(0077);
	control_wipe_json();
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL); /* threads inherit it */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, out_of_time);
	if (start(&options, &err) < 0) {
		fprintf(stderr, "granary-web: %s\n", err.text);
		return 1;
	}
	while (sigtimedwait(&signals, NULL, &moment) < 0) {
		if (front_relay_newer(&newer))
			front_renew(&newer);
	}
	alarm(STOP_SECONDS);
	front_stop();
	return 0;
}
