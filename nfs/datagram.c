/* SPDX-License-Identifier: Apache-2.0 */
/* datagram.c: calls over UDP, to the few programs that clients ask this way: portmapper and
 * rpcbind, MOUNT, RQUOTA. NFS is for TCP only. So are NLM and NSM: who gives a host's locks back
 * has to be that host, and a datagram's sender is whoever it says it is.
 *
 * A thread for each socket takes datagrams off it and hands them to the I/O loops. There each is a
 * call on a connection of its own, one without a stream, so procedures see no difference.
 *
 * What anybody can send in anybody's name must not become a flood at somebody else's door: only
 * calls are answered, with no more than REPLY_FACTOR times their length, so many a second to one
 * address, and of all; nothing is answered that came to many hosts at once. Lists of any length
 * (DUMP, EXPORT) are for TCP. */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "nfs/internal.h"

#define CALL_MAX     NFS_CALL_SMALL
#define RUNNING_MAX  64u /* calls of a socket at a time */
#define REPLY_FACTOR 2u
#define PEERS        1024u             /* addresses that share a rate by chance: one in so many */
#define PEER_GAP_NS  (20ull * 1000000) /* 50 a second of one address */
#define PEER_BURST   100u              /* at once after a quiet time */
#define ALL_GAP_NS   (1ull * 1000000)  /* 1000 a second of a socket */
#define ALL_BURST    2000u
#define SECOND_NS    1000000000ull

/* When what was let through would have been through at the rate. */
struct rate {
	uint64_t until_ns;
};

struct nfs_datagrams {
	struct nfs_server *server;
	int fd, stop_fd;
	int family;
	pthread_t thread;
	bool started;
	uint32_t refs;          /* atomic: the owner's, and each call's */
	struct message message; /* of the last one */
	/* the thread's */
	unsigned next; /* loop */
	uint64_t seed;
	struct rate all, peers[PEERS];
};

struct nfs_datagram {
	struct nfs_conn conn;
	struct message message;
	struct nfs_datagrams *from;
	union {
		struct in_pktinfo four;
		struct in6_pktinfo six;
	} here;     /* the address it came to, as the reply's own */
	bool aimed; /* here is known */
	size_t length;
	uint8_t data[CALL_MAX];
};

/* ---- how much */

static bool rate_allows(struct rate *rate, uint64_t gap_ns, unsigned burst, uint64_t now)
{
	if (rate->until_ns < now)
		rate->until_ns = now;
	if (rate->until_ns - now > gap_ns * burst)
		return false;
	rate->until_ns += gap_ns;
	return true;
}

/* IPv6: hosts of one /64 are one. */
static struct rate *rate_of(struct nfs_datagrams *all, const struct nfs_address *address)
{
	uint64_t key;

	memcpy(&key, address->bytes, sizeof(key));
	if (address->family == AF_INET)
		key &= htobe64(0xffffffff00000000ull);
	key = (key ^ all->seed) * 0x9e3779b97f4a7c15ull;
	key = (key ^ key >> 32) * 0xd6e8feb86659fd93ull;
	return &all->peers[(key ^ key >> 32) % PEERS];
}

static bool is_allowed(struct nfs_datagrams *all, const struct nfs_address *address)
{
	struct timespec clock;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &clock);
	now = (uint64_t)clock.tv_sec * SECOND_NS + (uint64_t)clock.tv_nsec;
	return rate_allows(rate_of(all, address), PEER_GAP_NS, PEER_BURST, now) &&
	       rate_allows(&all->all, ALL_GAP_NS, ALL_BURST, now);
}

/* ---- the end of a socket */

static void gone(struct message *message)
{
	struct nfs_datagrams *all = container_of(message, struct nfs_datagrams, message);
	struct nfs_server *server = all->server;

	close(all->fd);
	close(all->stop_fd);
	heap_free(all);
	nfs_server_datagrams_gone(server);
}

static void unref(struct nfs_datagrams *all)
{
	if (__atomic_sub_fetch(&all->refs, 1, __ATOMIC_ACQ_REL) == 0)
		loop_post(all->server->options.control, &all->message, gone);
}

/* ---- a call, on its I/O loop */

void nfs_datagram_end(struct nfs_conn *conn)
{
	struct nfs_datagram *datagram = conn->datagram;
	struct nfs_datagrams *from = datagram->from;

	heap_free(datagram);
	unref(from);
}

static size_t control_fill(const struct nfs_datagram *datagram, struct msghdr *message)
{
	struct cmsghdr *head = CMSG_FIRSTHDR(message);
	bool six = datagram->from->family == AF_INET6;
	size_t length = six ? sizeof(datagram->here.six) : sizeof(datagram->here.four);

	head->cmsg_level = six ? IPPROTO_IPV6 : IPPROTO_IP;
	head->cmsg_type = six ? IPV6_PKTINFO : IP_PKTINFO;
	head->cmsg_len = CMSG_LEN(length);
	memcpy(CMSG_DATA(head), &datagram->here, length);
	return CMSG_SPACE(length);
}

void nfs_datagram_reply(struct nfs_conn *conn, struct nfs_call *call)
{
	struct nfs_datagram *datagram = conn->datagram;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
	struct iovec iov = {call->out.base + RPC_MARK_LENGTH,
			    xdr_length(&call->out) - RPC_MARK_LENGTH};
	struct msghdr message = {
	    .msg_name = &conn->peer,
	    .msg_namelen = datagram->from->family == AF_INET6 ? sizeof(struct sockaddr_in6)
							      : sizeof(struct sockaddr_in),
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	};

	if (datagram->aimed) {
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		message.msg_controllen = control_fill(datagram, &message);
	}
	if (iov.iov_len <= REPLY_FACTOR * datagram->length && !call->data &&
	    sendmsg(datagram->from->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("NFS client %s: no datagram: %s", conn->peer_text, strerror(errno));
	nfs_conn_call_end(conn, call);
}

static void begin(struct message *message)
{
	struct nfs_datagram *datagram = container_of(message, struct nfs_datagram, message);
	struct nfs_conn *conn = &datagram->conn;
	struct nfs_call *call;

	list_init(&conn->calls);
	list_init(&conn->back_calls);
	nfs_conn_name(conn);
	call = nfs_call_create(conn);
	if (!call) {
		nfs_datagram_end(conn);
		return;
	}
	memcpy(call->record, datagram->data, datagram->length);
	call->record_length = datagram->length;
	conn->call_count = 1;
	list_push_back(&conn->calls, &call->link);
	nfs_call_start(call);
}

/* ---- the thread */

static void look_at_control(struct nfs_datagram *datagram, struct msghdr *message)
{
	for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head;
	     head = CMSG_NXTHDR(message, head)) {
		if (head->cmsg_level == IPPROTO_IP && head->cmsg_type == IP_PKTINFO) {
			memcpy(&datagram->here.four, CMSG_DATA(head), sizeof(datagram->here.four));
			datagram->aimed = true;
		} else if (head->cmsg_level == IPPROTO_IPV6 && head->cmsg_type == IPV6_PKTINFO) {
			memcpy(&datagram->here.six, CMSG_DATA(head), sizeof(datagram->here.six));
			datagram->aimed = true;
		}
	}
}

/* To this host alone, at an address of its own? Then that is the connection's. */
static bool is_for_us(struct nfs_datagram *datagram)
{
	struct nfs_conn *conn = &datagram->conn;

	if (!datagram->aimed)
		return false;
	if (datagram->from->family == AF_INET) {
		struct sockaddr_in *local = (struct sockaddr_in *)&conn->local;

		local->sin_family = AF_INET;
		local->sin_addr = datagram->here.four.ipi_addr;
		datagram->here.four.ipi_ifindex = 0; /* the way back may be another one */
		return datagram->here.four.ipi_addr.s_addr ==
		       datagram->here.four.ipi_spec_dst.s_addr;
	}
	((struct sockaddr_in6 *)&conn->local)->sin6_family = AF_INET6;
	((struct sockaddr_in6 *)&conn->local)->sin6_addr = datagram->here.six.ipi6_addr;
	if (!IN6_IS_ADDR_LINKLOCAL(&datagram->here.six.ipi6_addr))
		datagram->here.six.ipi6_ifindex = 0;
	return !IN6_IS_ADDR_MULTICAST(&datagram->here.six.ipi6_addr);
}

/* @datagram has come from conn.peer; it is used up. False: dropped. */
static bool take(struct nfs_datagrams *all, struct nfs_datagram *datagram, bool limited)
{
	struct nfs_conn *conn = &datagram->conn;
	struct nfs_server *server = all->server;

	conn->server = server;
	conn->datagram = datagram;
	list_init(&conn->link);
	if (!nfs_address_from((const struct sockaddr *)&conn->peer, &conn->address) ||
	    conn->address.port == 0 || (limited && !is_allowed(all, &conn->address)) ||
	    __atomic_load_n(&all->refs, __ATOMIC_RELAXED) > RUNNING_MAX)
		return false;
	conn->io = &server->loops[all->next++ % server->options.io_loop_count];
	__atomic_add_fetch(&all->refs, 1, __ATOMIC_RELAXED);
	loop_post(conn->io->loop, &datagram->message, begin);
	return true;
}

bool nfs_datagrams_busy(const struct nfs_datagrams *all)
{
	return __atomic_load_n(&all->refs, __ATOMIC_ACQUIRE) > 1;
}

bool nfs_datagram_put(struct nfs_datagrams *all, const void *data, size_t length,
		      const struct sockaddr_in *peer)
{
	struct nfs_datagram *datagram = heap_zalloc(sizeof(*datagram));

	if (!datagram)
		return false;
	datagram->from = all;
	datagram->length = length < CALL_MAX ? length : CALL_MAX;
	memcpy(datagram->data, data, datagram->length);
	memcpy(&datagram->conn.peer, peer, sizeof(*peer));
	if (take(all, datagram, false))
		return true;
	heap_free(datagram);
	return false;
}

/* One that is waiting, into *datagram, which is made if there is none; false: none is. */
static bool receive(struct nfs_datagrams *all, struct nfs_datagram **datagram)
{
	_Alignas(struct cmsghdr) char control[256];
	struct nfs_datagram *mine = *datagram;
	struct iovec iov;
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	ssize_t length;

	if (!mine)
		mine = *datagram = heap_zalloc(sizeof(*mine));
	if (!mine) {
		char nothing;

		return recv(all->fd, &nothing, 1, MSG_DONTWAIT) >= 0;
	}
	memset(mine, 0, offsetof(struct nfs_datagram, data));
	mine->from = all;
	iov = (struct iovec){mine->data, sizeof(mine->data)};
	message.msg_name = &mine->conn.peer;
	message.msg_namelen = sizeof(mine->conn.peer);
	length = recvmsg(all->fd, &message, MSG_DONTWAIT);
	if (length < 0)
		return errno != EAGAIN &&
		       errno != EWOULDBLOCK; /* EHOSTUNREACH and so on: of a reply */
	mine->length = (size_t)length;
	look_at_control(mine, &message);
	if (!(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && is_for_us(mine) &&
	    take(all, mine, true))
		*datagram = NULL;
	return true;
}

static void *run(void *context)
{
	struct nfs_datagrams *all = context;
	struct nfs_datagram *datagram = NULL;
	struct pollfd polls[] = {{.fd = all->fd, .events = POLLIN},
				 {.fd = all->stop_fd, .events = POLLIN}};

	while (!polls[1].revents) {
		if (poll(polls, 2, -1) < 0 && errno != EINTR)
			break;
		for (unsigned i = 0; polls[0].revents && i < RUNNING_MAX; i++)
			if (!receive(all, &datagram))
				break;
	}
	heap_free(datagram);
	return NULL;
}

/* ---- the beginning */

static bool set_address(const char *text, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *four = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, text, &six->sin6_addr) != 1)
		return false;
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return true;
}

static int bound_socket(const struct sockaddr_storage *address)
{
	int one = 1, fd = socket(address->ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool six = address->ss_family == AF_INET6;
	int result = 0;

	if (fd < 0)
		return -errno;
	if ((six && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0 ||
		     setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one)) < 0)) ||
	    (!six && setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)) < 0) ||
	    bind(fd, (const struct sockaddr *)address,
		 six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) < 0)
		result = -errno;
	if (result < 0)
		close(fd);
	return result < 0 ? result : fd;
}

struct nfs_datagrams *nfs_datagrams_on(struct nfs_server *server, int fd, int family)
{
	struct nfs_datagrams *all = heap_zalloc(sizeof(*all));

	if (!all)
		return NULL;
	all->server = server;
	all->fd = fd;
	all->family = family;
	all->refs = 1;
	all->stop_fd = eventfd(0, EFD_CLOEXEC);
	loop_random(server->options.control, &all->seed, sizeof(all->seed));
	if (all->stop_fd < 0) {
		heap_free(all);
		return NULL;
	}
	server->datagrams_open++;
	return all;
}

int nfs_datagrams_open(struct nfs_server *server, const char *address, uint16_t port,
		       struct nfs_datagrams **ret_datagrams)
{
	struct sockaddr_storage bound;
	struct nfs_datagrams *all;
	int fd, result;

	if (!set_address(address, port, &bound))
		return -EINVAL;
	fd = bound_socket(&bound);
	if (fd < 0)
		return fd;
	all = nfs_datagrams_on(server, fd, bound.ss_family);
	if (!all) {
		close(fd);
		return -ENOMEM;
	}
	result = -pthread_create(&all->thread, NULL, run, all);
	if (result < 0) {
		unref(all);
		return result;
	}
	all->started = true;
	*ret_datagrams = all;
	return 0;
}

void nfs_datagrams_close(struct nfs_datagrams *all)
{
	if (!all)
		return;
	if (all->started) {
		eventfd_write(all->stop_fd, 1);
		pthread_join(all->thread, NULL);
	}
	unref(all);
}
