/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/nfs.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/nfs_tls.h"

#define PEM_MAX  (256u << 10)
#define PAIR     "nfs-tls.pem"
#define CLIENTS  "nfs-tls-clients.pem"
#define NAMES    1024u
#define OWN_MOST 16u /* addresses in a certificate of our own */

/* ---- files */

/* NULL: it is not there, or *ret_result says what is wrong. */
static char *read_text(const struct webadmin *admin, const char *name, int *ret_result)
{
	char *path = heap_printf("%s/%s", admin->options.state_dir, name), *text = NULL;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	ssize_t length = 0;

	*ret_result = fd < 0 && errno != ENOENT ? -errno : 0;
	if (fd >= 0 && (text = heap_zalloc(PEM_MAX + 1)))
		length = read(fd, text, PEM_MAX);
	if (fd >= 0 && (!text || length < 0)) {
		*ret_result = -EIO;
		heap_free(text);
		text = NULL;
	}
	if (fd >= 0)
		close(fd);
	heap_free(path);
	return text;
}

/* A text that holds a key. */
static void forget(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	heap_free(text);
}

/* Whole under its name, or not there. */
static int write_text(const struct webadmin *admin, const char *name, const char *text,
		      struct err *err)
{
	int dir = open(admin->options.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	size_t length = strlen(text);
	char fresh[64];
	int result = 0;

	snprintf(fresh, sizeof fresh, "%s.new", name);
	if (dir >= 0)
		fd =
		    openat(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	errno = fd < 0 ? errno : 0;
	if (fd < 0 || write(fd, text, length) != (ssize_t)length || fsync(fd) < 0 ||
	    renameat(dir, fresh, dir, name) < 0 || fsync(dir) < 0)
		result = err_set(err, errno ? -errno : -EIO, "%s/%s: %s", admin->options.state_dir,
				 name, strerror(errno ? errno : EIO));
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	return result;
}

/* ---- a pair of our own */

static void add_name(char names[NAMES], const char *kind, const char *name)
{
	size_t length = strlen(names);

	if (length + strlen(name) + 8 < NAMES)
		snprintf(names + length, NAMES - length, "%s%s:%s", length ? "," : "", kind, name);
}

static bool is_host_name(const char *name)
{
	return *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789.-")];
}

static bool address_text(const struct ifaddrs *one, char text[INET6_ADDRSTRLEN])
{
	const struct sockaddr *address = one->ifa_addr;
	const struct in6_addr *six;

	if (!address || !(one->ifa_flags & IFF_UP))
		return false;
	if (address->sa_family == AF_INET)
		return inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text,
				 INET6_ADDRSTRLEN);
	if (address->sa_family != AF_INET6)
		return false;
	six = &((const struct sockaddr_in6 *)address)->sin6_addr;
	return !IN6_IS_ADDR_LINKLOCAL(six) && inet_ntop(AF_INET6, six, text, INET6_ADDRSTRLEN);
}

/* The machine's name and addresses of this moment. */
static void list_names(char names[NAMES])
{
	char name[256] = "", text[INET6_ADDRSTRLEN];
	struct ifaddrs *all = NULL;
	unsigned count = 0;

	names[0] = '\0';
	if (gethostname(name, sizeof name - 1) == 0 && is_host_name(name))
		add_name(names, "DNS", name);
	add_name(names, "DNS", "localhost");
	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *one = all; one && count < OWN_MOST; one = one->ifa_next)
		if (address_text(one, text)) {
			add_name(names, "IP", text);
			count++;
		}
	freeifaddrs(all);
}

static char *make_pair(struct err *err)
{
	char names[NAMES], *pem;

	list_names(names);
	return nfs_tls_make(names, &pem, err) < 0 ? NULL : pem;
}

/* ---- start */

static void note(struct webadmin *admin, const char *pair, const char *clients)
{
	admin->nfs_tls_expires = certificate_end(pair);
	admin->nfs_tls_believes = *clients;
}

bool nfs_tls_believes(const struct webadmin *admin)
{
	return admin->nfs_tls_believes;
}

int64_t nfs_tls_expires(const struct webadmin *admin)
{
	return admin->nfs_tls_expires;
}

void nfs_tls_open(struct webadmin *admin)
{
	struct err err = {0};
	int result, other;
	char *pair, *clients;

	if (!admin->options.nfs)
		return;
	pair = read_text(admin, PAIR, &result);
	clients = read_text(admin, CLIENTS, &other);
	if (!pair && result == 0) {
		pair = make_pair(&err);
		result = pair ? write_text(admin, PAIR, pair, &err) : err.code;
	}
	if (result == 0 && other == 0)
		result = nfs_tls_set(admin->options.nfs, pair, pair, clients ? clients : "", &err);
	else if (!err.code) /* what could not be made has said why */
		result =
		    err_set(&err, result < 0 ? result : other, "%s can not be read: %s",
			    result < 0 ? PAIR : CLIENTS, strerror(-(result < 0 ? result : other)));
	if (result < 0)
		log_error("NFS over TLS is not offered: %s (granary share tls set)", err.text);
	else
		note(admin, pair, clients ? clients : "");
	forget(pair);
	heap_free(clients);
}

/* ---- routes */

static json_t *show_clients(const char *clients)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	json_t *list = json_array();

	for (const char *at = clients; at && (at = strstr(at, begin)); at++)
		json_array_append_new(list, certificate_show(at));
	return list;
}

static void reply(struct api_request *request, const char *pair, const char *clients)
{
	api_reply(request, 200,
		  json_pack("{s:o,s:o}", "certificate", certificate_show(pair), "clients",
			    show_clients(clients)));
}

void api_nfs_tls_show(struct api_request *request)
{
	int result, other;
	char *pair = read_text(request->admin, PAIR, &result);
	char *clients = read_text(request->admin, CLIENTS, &other);

	if (pair && strstr(pair, "-----BEGIN CERTIFICATE-----"))
		reply(request, pair, clients);
	else
		api_reply_error(request, 404, "no_certificate",
				"there is no certificate for NFS over TLS; \"granary share tls "
				"set\" gives it one");
	forget(pair);
	heap_free(clients);
}

/* What @request asks for in place of @pair; NULL: it has been answered. */
static char *wanted_pair(struct api_request *request, const char *pair, const char *chain,
			 const char *key, bool renew)
{
	int64_t now = (int64_t)(loop_wall(request->admin->options.control) / 1000000000u);
	char fingerprint[FINGERPRINT_TEXT], *made = NULL;

	if (!chain != !key || (chain && renew))
		api_reply_error(request, 400, "bad_certificate",
				"give a chain and its key, or renew, or none of them");
	else if (chain && (strlen(chain) + strlen(key) > PEM_MAX - 1 ||
			   certificate_check(chain, key, now, fingerprint, &request->err) < 0))
		api_reply_error(request, 400, "bad_certificate", "%s",
				request->err.text[0] ? request->err.text : "it is too large");
	else {
		made = chain   ? heap_printf("%s\n%s", key, chain)
		       : renew ? make_pair(&request->err)
			       : heap_strdup(pair);
		if (!made) {
			err_set(&request->err, -ENOMEM, "out of memory");
			api_reply_failure(request, NULL);
		}
	}
	return made;
}

/* In force, then on the disk, or neither. */
static int change(struct api_request *request, const char *pair, const char *clients,
		  const char *old_pair, const char *old_clients)
{
	struct webadmin *admin = request->admin;
	struct err *err = &request->err, put_back = {0};
	int result = nfs_tls_set(admin->options.nfs, pair, pair, clients, err);

	if (result < 0)
		return result;
	result = write_text(admin, CLIENTS, clients, err);
	if (result == 0)
		result = write_text(admin, PAIR, pair, err);
	if (result == 0)
		return 0;
	if (nfs_tls_set(admin->options.nfs, old_pair, old_pair, old_clients, &put_back) < 0 ||
	    write_text(admin, CLIENTS, old_clients, &put_back) < 0)
		log_error("NFS over TLS: %s", put_back.text);
	return result;
}

static void set(struct api_request *request, const char *pair, const char *clients,
		const char *old_pair, const char *old_clients)
{
	if (change(request, pair, clients, old_pair, old_clients) < 0) {
		if (request->err.code == -EINVAL)
			api_reply_error(request, 400, "bad_certificate", "%s", request->err.text);
		else
			api_reply_failure(request, NULL);
		return;
	}
	note(request->admin, pair, clients);
	log_notice("audit: %s set the certificates of NFS over TLS", request->who.name);
	reply(request, pair, clients);
}

/* What is not given stays: then it has to be known. False: it has been answered. */
static bool stays(struct api_request *request, const char *name, int result)
{
	if (result == 0)
		return true;
	err_set(&request->err, result,
		"%s/%s can not be read (%s), so nothing was changed: put it right, or give what is "
		"in it anew",
		request->admin->options.state_dir, name, strerror(-result));
	api_reply_failure(request, NULL);
	return false;
}

void api_nfs_tls_set(struct api_request *request)
{
	const char *chain = NULL, *key = NULL, *clients = NULL;
	char *old_pair, *old_clients, *pair;
	int renew = 0, result, other;

	if (!request->admin->options.nfs) {
		api_reply_error(request, 409, "no_nfs", "this daemon serves no NFS");
		return;
	}
	if (!api_unpack(request, "{s?:s,s?:s,s?:s,s?:b}", "chain", &chain, "key", &key, "clients",
			&clients, "renew", &renew))
		return;
	if (clients && strlen(clients) > PEM_MAX) {
		api_reply_error(request, 400, "bad_certificate", "the clients' are too large");
		return;
	}
	old_pair = read_text(request->admin, PAIR, &result);
	old_clients = read_text(request->admin, CLIENTS, &other);
	pair = NULL;
	if ((chain || renew || stays(request, PAIR, result)) &&
	    (clients || stays(request, CLIENTS, other)))
		pair = wanted_pair(request, old_pair ? old_pair : "", chain, key, renew);
	if (pair)
		set(request, pair,
		    clients       ? clients
		    : old_clients ? old_clients
				  : "",
		    old_pair ? old_pair : "", old_clients ? old_clients : "");
	forget(pair);
	forget(old_pair);
	heap_free(old_clients);
}
