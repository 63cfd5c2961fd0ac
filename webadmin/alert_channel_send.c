/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/heap.h"
#include "webadmin/alert_channel.h"

/* Sending: e-mail and webhooks by libcurl, syslog and traps by a socket. libcurl and what it brings
 * along are loaded when the first message goes out; a box without channels never has them. */

/* ---- libcurl */
static struct {
	__typeof__(curl_global_init) *global_init;
	__typeof__(curl_easy_init) *easy_init;
	__typeof__(curl_easy_setopt) *easy_setopt;
	__typeof__(curl_easy_perform) *easy_perform;
	__typeof__(curl_easy_getinfo) *easy_getinfo;
	__typeof__(curl_easy_strerror) *easy_strerror;
	__typeof__(curl_easy_cleanup) *easy_cleanup;
	__typeof__(curl_easy_send) *easy_send;
	__typeof__(curl_slist_append) *slist_append;
	__typeof__(curl_slist_free_all) *slist_free_all;
} curl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct err failure;

#define ROW(name)                                                                                  \
	{                                                                                          \
		"curl_" #name, &curl.name, sizeof curl.name                                        \
	}

static void load(void)
{
	static const struct {
		const char *name;
		void *place;
		size_t size;
	} rows[] = {ROW(global_init),  ROW(easy_init),     ROW(easy_setopt),  ROW(easy_perform),
		    ROW(easy_getinfo), ROW(easy_strerror), ROW(easy_cleanup), ROW(easy_send),
		    ROW(slist_append), ROW(slist_free_all)};
	void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		err_set(&failure, -ELIBACC, "e-mail and webhooks need libcurl4: %s", dlerror());
		return;
	}
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		void *symbol = dlsym(library, rows[i].name);

		if (!symbol) {
			err_set(&failure, -ELIBACC, "this libcurl is too old: it has no %s",
				rows[i].name);
			return;
		}
		memcpy(rows[i].place, &symbol, rows[i].size);
	}
	if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		err_set(&failure, -EIO, "libcurl can not be set up");
}

/* ---- where it may go */
static bool v4_allowed(uint32_t address)
{
	return address >> 24 != 0 && address >> 16 != 0xa9fe && address >> 28 < 0xe;
}

/* Not to what only exists on one link (the metadata services of clouds are there), to groups, or to
 * nowhere. */
static bool address_allowed(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return v4_allowed(ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6) {
		const struct in6_addr *six = &((const struct sockaddr_in6 *)address)->sin6_addr;
		uint32_t four;

		memcpy(&four, six->s6_addr + 12, sizeof four);
		if (IN6_IS_ADDR_V4MAPPED(six))
			return v4_allowed(ntohl(four));
		return !IN6_IS_ADDR_UNSPECIFIED(six) && !IN6_IS_ADDR_LINKLOCAL(six) &&
		       !IN6_IS_ADDR_MULTICAST(six);
	}
	return false;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	bool *refused = context;

	if (purpose != CURLSOCKTYPE_IPCXN || !address_allowed(&address->addr)) {
		*refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- one transfer */
struct transfer {
	CURL *easy;
	struct curl_slist *list; /* headers, or recipients */
	const char *from;        /* what is sent of a mail, and how much has been */
	size_t length, at;
	char answer[CHANNEL_ANSWER_MAX + 1];
	size_t got;
	bool refused;
	const bool *stopping;
	char why[CURL_ERROR_SIZE];
};

static size_t give(char *to, size_t size, size_t count, void *context)
{
	struct transfer *transfer = context;
	size_t left = transfer->length - transfer->at;
	size_t part = left < size * count ? left : size * count;

	memcpy(to, transfer->from + transfer->at, part);
	transfer->at += part;
	return part;
}

/* What is beyond the bound is not looked at; an end here would make a failure of what was taken. */
static size_t take(char *from, size_t size, size_t count, void *context)
{
	struct transfer *transfer = context;
	size_t room = CHANNEL_ANSWER_MAX - transfer->got, length = size * count;

	if (room > length)
		room = length;
	memcpy(transfer->answer + transfer->got, from, room);
	transfer->got += room;
	return length;
}

static int still_wanted(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct transfer *transfer = context;

	(void)a;
	(void)b;
	(void)c;
	(void)d;
	return __atomic_load_n(transfer->stopping, __ATOMIC_RELAXED);
}

static bool add_line(struct transfer *transfer, const char *line)
{
	struct curl_slist *longer = curl.slist_append(transfer->list, line);

	if (longer)
		transfer->list = longer;
	return longer != NULL;
}

static void set_common(struct transfer *transfer, const struct alert_channel_settings *settings,
		       const char *url, const char *protocols)
{
	CURL *easy = transfer->easy;

	curl.easy_setopt(easy, CURLOPT_URL, url);
	curl.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, protocols);
	curl.easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl.easy_setopt(easy, CURLOPT_PROXY, "");
	curl.easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl.easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl.easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)CHANNEL_TIMEOUT_MS);
	curl.easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CHANNEL_TIMEOUT_MS / 2);
	curl.easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl.easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->why);
	curl.easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl.easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &transfer->refused);
	curl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
	curl.easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl.easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	curl.easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, still_wanted);
	curl.easy_setopt(easy, CURLOPT_XFERINFODATA, transfer);
	if (settings->ca) {
		struct curl_blob blob = {settings->ca, strlen(settings->ca), CURL_BLOB_NOCOPY};

		curl.easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
	}
}

static int perform(struct transfer *transfer, struct err *err)
{
	CURLcode code = curl.easy_perform(transfer->easy);

	if (code == CURLE_OK)
		return 0;
	if (transfer->refused)
		return err_set(err, -EACCES,
			       "its address is link-local, multicast or none: alerts are not sent "
			       "there");
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return err_set(err, -ECANCELED, "the daemon stops");
	return err_set(err, code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO, "%s",
		       transfer->why[0] ? transfer->why : curl.easy_strerror(code));
}

static bool add_recipients(struct transfer *transfer, const char *to)
{
	char address[CHANNEL_MAIL_MAX + 3];

	while (*to) {
		size_t length = strcspn(to, ",");

		snprintf(address, sizeof address, "<%.*s>", (int)length, to);
		if (!add_line(transfer, address))
			return false;
		to += length + (to[length] == ',');
	}
	return true;
}

static int send_mail(struct transfer *transfer, const struct alert_channel_settings *settings,
		     const struct alert_channel_message *message, struct err *err)
{
	char *mail = alert_channel_mail(settings, message), from[CHANNEL_MAIL_MAX + 3];
	int result;

	if (!mail || !add_recipients(transfer, settings->to)) {
		heap_free(mail);
		return err_set(err, -ENOMEM, "out of memory");
	}
	transfer->from = mail;
	transfer->length = strlen(mail);
	snprintf(from, sizeof from, "<%s>", settings->from);
	set_common(transfer, settings, settings->url, "smtp,smtps");
	curl.easy_setopt(transfer->easy, CURLOPT_MAIL_FROM, from);
	curl.easy_setopt(transfer->easy, CURLOPT_MAIL_RCPT, transfer->list);
	curl.easy_setopt(transfer->easy, CURLOPT_UPLOAD, 1L);
	curl.easy_setopt(transfer->easy, CURLOPT_READFUNCTION, give);
	curl.easy_setopt(transfer->easy, CURLOPT_READDATA, transfer);
	curl.easy_setopt(transfer->easy, CURLOPT_USE_SSL,
			 (long)(settings->plain ? CURLUSESSL_NONE : CURLUSESSL_ALL));
	if (settings->user[0]) {
		curl.easy_setopt(transfer->easy, CURLOPT_USERNAME, settings->user);
		curl.easy_setopt(transfer->easy, CURLOPT_PASSWORD, settings->secret);
	}
	result = perform(transfer, err);
	heap_free(mail);
	return result;
}

static int check_answer(struct transfer *transfer, const struct alert_channel_settings *settings,
			struct err *err)
{
	long status = 0;

	curl.easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200 || status > 299)
		return err_set(err, -EPROTO, "it answered with status %ld", status);
	if (!alert_channel_accepted(settings->preset, transfer->answer))
		return err_set(err, -EPROTO,
			       "it did not take the message: look at its keywords, its signature "
			       "and the addresses it allows");
	return 0;
}

static int send_webhook(struct transfer *transfer, const struct alert_channel_settings *settings,
			const struct alert_channel_message *message, struct err *err)
{
	char *url = alert_channel_url(settings, message),
	     *body = alert_channel_body(settings, message);
	char line[128] = "X-Granary-Signature: sha256=", hex[65];
	int result = 0;

	if (!url || !body || !add_line(transfer, "Content-Type: application/json; charset=utf-8") ||
	    !add_line(transfer, "User-Agent: granary") || !add_line(transfer, "Expect:"))
		result = err_set(err, -ENOMEM, "out of memory");
	if (result == 0 && settings->preset == PRESET_GENERIC && settings->secret[0]) {
		alert_channel_signature(settings->secret, body, hex);
		snprintf(line + strlen(line), sizeof line - strlen(line), "%s", hex);
		if (!add_line(transfer, line))
			result = err_set(err, -ENOMEM, "out of memory");
	}
	if (result == 0) {
		set_common(transfer, settings, url, "http,https");
		curl.easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->list);
		curl.easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
		curl.easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, body);
		result = perform(transfer, err);
	}
	if (result == 0)
		result = check_answer(transfer, settings, err);
	if (url)
		explicit_bzero(url, strlen(url));
	heap_free(url);
	heap_free(body);
	return result;
}

static int send_by_curl(const struct alert_channel_settings *settings,
			const struct alert_channel_message *message, const bool *stopping,
			struct err *err)
{
	struct transfer *transfer;
	int result;

	pthread_once(&once, load);
	if (failure.code)
		return err_set(err, failure.code, "%s", failure.text);
	transfer = heap_zalloc(sizeof *transfer);
	if (!transfer)
		return err_set(err, -ENOMEM, "out of memory");
	transfer->stopping = stopping;
	transfer->easy = curl.easy_init();
	if (!transfer->easy)
		result = err_set(err, -ENOMEM, "out of memory");
	else if (settings->kind == CHANNEL_EMAIL)
		result = send_mail(transfer, settings, message, err);
	else
		result = send_webhook(transfer, settings, message, err);
	if (transfer->easy)
		curl.easy_cleanup(transfer->easy);
	curl.slist_free_all(transfer->list);
	heap_free(transfer);
	return result;
}

/* ---- syslog over TLS (RFC 5425): libcurl connects and looks at the certificate, no more */
#define STEP_MS 250

static int tls_send_all(struct transfer *transfer, const char *data, size_t length, struct err *err)
{
	int left_ms = CHANNEL_TIMEOUT_MS / 2;
	const struct timespec step = {.tv_nsec = STEP_MS * 1000000};

	while (length) {
		size_t sent = 0;
		CURLcode code = curl.easy_send(transfer->easy, data, length, &sent);

		if (code != CURLE_OK && code != CURLE_AGAIN)
			return err_set(err, -EIO, "%s", curl.easy_strerror(code));
		data += sent;
		length -= sent;
		if (code != CURLE_AGAIN)
			continue;
		if (left_ms <= 0 || __atomic_load_n(transfer->stopping, __ATOMIC_RELAXED))
			return err_set(err, -ETIMEDOUT, "it takes nothing");
		nanosleep(&step, NULL);
		left_ms -= STEP_MS;
	}
	return 0;
}

static int send_tls(struct transfer *transfer, const struct alert_channel_settings *settings,
		    const char *data, struct err *err)
{
	char url[CHANNEL_URL_MAX + 8];
	int result;

	snprintf(url, sizeof url, "https%s", settings->url + 3); /* tls://HOST:PORT */
	set_common(transfer, settings, url, "https");
	curl.easy_setopt(transfer->easy, CURLOPT_CONNECT_ONLY, 1L);
	result = perform(transfer, err);
	return result < 0 ? result : tls_send_all(transfer, data, strlen(data), err);
}

static int send_over_tls(const struct alert_channel_settings *settings, const char *data,
			 const bool *stopping, struct err *err)
{
	struct transfer *transfer;
	int result = -ENOMEM;

	pthread_once(&once, load);
	if (failure.code)
		return err_set(err, failure.code, "%s", failure.text);
	transfer = heap_zalloc(sizeof *transfer);
	if (!transfer)
		return err_set(err, result, "out of memory");
	transfer->stopping = stopping;
	transfer->easy = curl.easy_init();
	if (transfer->easy) {
		result = send_tls(transfer, settings, data, err);
		curl.easy_cleanup(transfer->easy);
	} else {
		err_set(err, result, "out of memory");
	}
	heap_free(transfer);
	return result;
}

/* ---- syslog */

/* How long something is still waited for. */
struct patience {
	int left_ms;
	const bool *stopping;
};

static bool has_patience(const struct patience *patience)
{
	return patience->left_ms > 0 && !__atomic_load_n(patience->stopping, __ATOMIC_RELAXED);
}

/* Ready for @events in time. */
static bool wait_for(int fd, short events, struct patience *patience)
{
	for (; has_patience(patience); patience->left_ms -= STEP_MS) {
		struct pollfd poll_fd = {.fd = fd, .events = events};

		if (poll(&poll_fd, 1, STEP_MS) > 0)
			return true;
	}
	return false;
}

static int connect_to(const struct addrinfo *address, struct patience *patience, int *ret_fd)
{
	int fd, error = 0;
	socklen_t length = sizeof error;

	if (!address_allowed(address->ai_addr))
		return -EACCES;
	fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    address->ai_protocol);
	if (fd < 0)
		return -errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) < 0 &&
	    (errno != EINPROGRESS || !wait_for(fd, POLLOUT, patience) ||
	     getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error)) {
		close(fd);
		return error ? -error : -ETIMEDOUT;
	}
	*ret_fd = fd;
	return 0;
}

static int send_all(int fd, const char *data, size_t length, const bool *stopping)
{
	struct patience patience = {CHANNEL_TIMEOUT_MS / 2, stopping};

	while (length) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (sent < 0 && !wait_for(fd, POLLOUT, &patience))
			return -ETIMEDOUT;
		if (sent > 0) {
			data += sent;
			length -= (size_t)sent;
		}
	}
	return 0;
}

/* A question to name servers, which may not answer for half a minute: then nobody waits for it any
 * more, and it is left to the C library with all that it needs. */
struct lookup {
	struct gaicb request;
	struct addrinfo hints;
	char host[CHANNEL_URL_MAX + 1], *port;
};

static struct lookup *lookup_create(const char *url, bool stream)
{
	struct lookup *lookup = heap_zalloc(sizeof *lookup);
	char *host;

	if (!lookup)
		return NULL;
	host = lookup->host;
	snprintf(host, sizeof lookup->host, "%s", strstr(url, "://") + 3);
	lookup->port = strrchr(host, ':');
	*lookup->port++ = '\0';
	if (host[0] == '[') { /* [2001:db8::1] */
		memmove(host, host + 1, strlen(host));
		host[strcspn(host, "]")] = '\0';
	}
	lookup->hints = (struct addrinfo){.ai_socktype = stream ? SOCK_STREAM : SOCK_DGRAM,
					  .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
	lookup->request = (struct gaicb){
	    .ar_name = host, .ar_service = lookup->port, .ar_request = &lookup->hints};
	return lookup;
}

static void lookup_destroy(struct lookup *lookup)
{
	if (gai_cancel(&lookup->request) == EAI_NOTCANCELED)
		return;
	if (lookup->request.ar_result)
		freeaddrinfo(lookup->request.ar_result);
	heap_free(lookup);
}

/* 0 or EAI_...; EAI_INPROGRESS: not in time. */
static int lookup_run(struct lookup *lookup, struct patience *patience)
{
	struct gaicb *list[] = {&lookup->request};
	const struct gaicb *const waited[] = {&lookup->request};
	const struct timespec step = {.tv_nsec = STEP_MS * 1000000};
	int error = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);

	if (error)
		return error;
	for (; gai_error(&lookup->request) == EAI_INPROGRESS && has_patience(patience);
	     patience->left_ms -= STEP_MS)
		gai_suspend(waited, 1, &step);
	error = gai_error(&lookup->request);
	/* What it found is seen whole once the library has let go of it, which is now. */
	while (error != EAI_INPROGRESS && gai_cancel(&lookup->request) == EAI_NOTCANCELED)
		sched_yield();
	return error;
}

/* The name and all its addresses have the time of one connection. */
static int reach(const struct alert_channel_settings *settings, bool stream, const bool *stopping,
		 int *ret_fd, struct err *err)
{
	struct patience patience = {CHANNEL_TIMEOUT_MS / 2, stopping};
	struct lookup *lookup = lookup_create(settings->url, stream);
	int result = -EHOSTUNREACH, error;

	if (!lookup)
		return err_set(err, -ENOMEM, "out of memory");
	error = lookup_run(lookup, &patience);
	if (error) {
		err_set(err, result, "%s: %s", lookup->host,
			error == EAI_INPROGRESS ? "no name server answers" : gai_strerror(error));
		lookup_destroy(lookup);
		return result;
	}
	for (const struct addrinfo *it = lookup->request.ar_result;
	     it && result < 0 && has_patience(&patience); it = it->ai_next)
		result = connect_to(it, &patience, ret_fd);
	if (result < 0)
		err_set(err, result, "%s port %s: %s", lookup->host, lookup->port,
			strerror(-result));
	lookup_destroy(lookup);
	return result;
}

/* Each line with its length in front (RFC 6587 3.4.1, RFC 5425 4.3). NULL: no memory. */
static char *framed(const char *lines)
{
	char *all = heap_zalloc(1);

	while (all && *lines) {
		size_t length = strcspn(lines, "\n");
		char *longer = heap_printf("%s%zu %.*s", all, length, (int)length, lines);

		heap_free(all);
		all = longer;
		lines += length + (lines[length] == '\n');
	}
	return all;
}

/* A datagram a line, or all of them in one stream. */
static int send_lines(int fd, const char *lines, bool stream, const bool *stopping)
{
	int result = 0;

	if (stream)
		return send_all(fd, lines, strlen(lines), stopping);
	while (result == 0 && *lines) {
		size_t length = strcspn(lines, "\n");

		result = send_all(fd, lines, length, stopping);
		lines += length + (lines[length] == '\n');
	}
	return result;
}

static int send_syslog(const struct alert_channel_settings *settings,
		       const struct alert_channel_message *message, const bool *stopping,
		       struct err *err)
{
	bool tls = strncmp(settings->url, "tls:", 4) == 0;
	bool stream = tls || strncmp(settings->url, "tcp:", 4) == 0;
	char *lines =
	    message->audit ? heap_strdup(message->audit) : alert_channel_syslog(settings, message);
	char *data = lines && stream ? framed(lines) : lines;
	int fd = -1, result;

	if (!data) {
		heap_free(lines);
		return err_set(err, -ENOMEM, "out of memory");
	}
	result = tls ? send_over_tls(settings, data, stopping, err)
		     : reach(settings, stream, stopping, &fd, err);
	if (result == 0 && !tls) {
		result = send_lines(fd, data, stream, stopping);
		if (result < 0)
			err_set(err, result, "%s", strerror(-result));
		close(fd);
	}
	if (data != lines)
		heap_free(data);
	heap_free(lines);
	return result;
}

/* ---- SNMP: one datagram, which nobody acknowledges */
static uint32_t ticks_up(void)
{
	struct timespec now = {0};

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)((uint64_t)now.tv_sec * 100 + (uint64_t)now.tv_nsec / 10000000);
}

static int send_trap(const struct alert_channel_settings *settings,
		     const struct alert_channel_message *message, const bool *stopping,
		     struct err *err)
{
	uint8_t trap[CHANNEL_TRAP_MAX];
	size_t length = alert_channel_trap(settings, message, ticks_up(), trap);
	int fd = -1, result;

	if (!length)
		return err_set(err, -EMSGSIZE, "it does not fit into a trap");
	result = reach(settings, false, stopping, &fd, err);
	if (result == 0) {
		result = send_all(fd, (const char *)trap, length, stopping);
		if (result < 0)
			err_set(err, result, "%s", strerror(-result));
		close(fd);
	}
	explicit_bzero(trap, sizeof trap); /* its community */
	return result;
}

int alert_channel_send(const struct alert_channel_settings *settings,
		       const struct alert_channel_message *message, const bool *stopping,
		       struct err *err)
{
	/* one whose secrets did not open has no URL */
	if (alert_channel_check(settings, err) < 0)
		return err->code;
	if (settings->kind == CHANNEL_SNMP)
		return send_trap(settings, message, stopping, err);
	return settings->kind == CHANNEL_SYSLOG ? send_syslog(settings, message, stopping, err)
						: send_by_curl(settings, message, stopping, err);
}
