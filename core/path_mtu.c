/* SPDX-License-Identifier: Apache-2.0 */
#include "core/path_mtu.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE_MOST    65000u
#define RECEIVE_ROOM (1 << 20) /* all sizes, twice */
#define HEADER       8u        /* of an echo, both families */

/* Ethernet's and what tunnels leave of it; jumbo frames, as cards and switches have them. */
static const unsigned usual_sizes[] = {9000, 8000, 4000, 2000, 1600, 1500,
				       1492, 1450, 1400, 1280, 576};

union socket_address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

static unsigned ip_header(const struct path_mtu *path)
{
	return path->family == AF_INET ? 20 : 40;
}

static int parse(const char *text, union socket_address *ret_address, socklen_t *ret_length)
{
	memset(ret_address, 0, sizeof *ret_address);
	if (inet_pton(AF_INET, text, &ret_address->four.sin_addr) == 1) {
		ret_address->any.sa_family = AF_INET;
		*ret_length = sizeof ret_address->four;
		return 0;
	}
	ret_address->any.sa_family = AF_INET6;
	*ret_length = sizeof ret_address->six;
	return inet_pton(AF_INET6, text, &ret_address->six.sin6_addr) == 1 ? 0 : -EINVAL;
}

/* A raw socket where that is allowed, else one for pings. */
static int open_socket(struct path_mtu *path)
{
	int protocol = path->family == AF_INET ? IPPROTO_ICMP : (int)IPPROTO_ICMPV6;
	int kind = SOCK_CLOEXEC | SOCK_NONBLOCK;

	path->raw = true;
	path->fd = socket(path->family, SOCK_RAW | kind, protocol);
	if (path->fd < 0 && errno == EPERM) {
		path->raw = false;
		path->fd = socket(path->family, SOCK_DGRAM | kind, protocol);
	}
	return path->fd < 0 ? -errno : 0;
}

/* Nothing but answers; sent whole or not at all, whatever was learned about the way before. */
static int set_up(const struct path_mtu *path)
{
	int probe4 = IP_PMTUDISC_PROBE, probe6 = IPV6_PMTUDISC_PROBE, on = 1, room = RECEIVE_ROOM;
	struct icmp_filter echo4 = {~(1u << ICMP_ECHOREPLY)};
	struct icmp6_filter echo6;

	setsockopt(path->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	if (path->family == AF_INET) {
		if (path->raw &&
		    setsockopt(path->fd, SOL_RAW, ICMP_FILTER, &echo4, sizeof echo4) < 0)
			return -errno;
		return setsockopt(path->fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe4, sizeof probe4) < 0
			   ? -errno
			   : 0;
	}
	ICMP6_FILTER_SETBLOCKALL(&echo6);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &echo6);
	if (path->raw &&
	    setsockopt(path->fd, IPPROTO_ICMPV6, ICMP6_FILTER, &echo6, sizeof echo6) < 0)
		return -errno;
	if (setsockopt(path->fd, IPPROTO_IPV6, IPV6_DONTFRAG, &on, sizeof on) < 0)
		return -errno;
	return setsockopt(path->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe6, sizeof probe6) < 0
		   ? -errno
		   : 0;
}

static bool same_host(const struct sockaddr *a, const union socket_address *b)
{
	if (a->sa_family != b->any.sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr == b->four.sin_addr.s_addr;
	return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &b->six.sin6_addr, 16) == 0;
}

/* The interface that the way begins at, by the address that the kernel has chosen, and its MTU. */
static int find_interface(struct path_mtu *path, unsigned *ret_mtu)
{
	union socket_address own;
	socklen_t length = sizeof own;
	struct ifaddrs *list;
	struct ifreq ask = {0};
	int result = -ENODEV;

	if (getsockname(path->fd, &own.any, &length) < 0 || getifaddrs(&list) < 0)
		return -errno;
	for (const struct ifaddrs *it = list; it && result < 0; it = it->ifa_next)
		if (it->ifa_addr && same_host(it->ifa_addr, &own)) {
			snprintf(path->interface, sizeof path->interface, "%s", it->ifa_name);
			result = 0;
		}
	freeifaddrs(list);
	memcpy(ask.ifr_name, path->interface, sizeof ask.ifr_name);
	if (result == 0 && ioctl(path->fd, SIOCGIFMTU, &ask) < 0)
		result = -errno;
	if (result == 0)
		*ret_mtu = (unsigned)ask.ifr_mtu;
	return result;
}

static void choose_sizes(struct path_mtu *path, unsigned mtu)
{
	path->sizes[path->count++] = mtu < SIZE_MOST ? mtu : SIZE_MOST;
	for (unsigned i = 0; i < sizeof usual_sizes / sizeof *usual_sizes; i++)
		if (usual_sizes[i] < mtu && (usual_sizes[i] >= 1280 || path->family == AF_INET))
			path->sizes[path->count++] = usual_sizes[i];
}

int path_mtu_open(struct path_mtu *path, const char *address, struct err *err)
{
	union socket_address peer;
	socklen_t length;
	unsigned mtu = 0;
	int result;

	*path = (struct path_mtu){.fd = -1};
	if (parse(address, &peer, &length) < 0)
		return err_set(err, -EINVAL, "%s is no IP address", address);
	path->family = peer.any.sa_family;
	result = open_socket(path);
	if (result < 0)
		return err_set(err, result, "echo requests can not be sent: %s", strerror(-result));
	result = set_up(path);
	if (result == 0 && connect(path->fd, &peer.any, length) < 0)
		result = -errno;
	if (result == 0)
		result = find_interface(path, &mtu);
	if (result == 0 && getrandom(path->cookie, sizeof path->cookie, 0) < 0)
		result = -errno;
	if (result < 0) {
		path_mtu_close(path);
		return err_set(err, result, "there is no way to %s: %s", address,
			       strerror(-result));
	}
	choose_sizes(path, mtu);
	return 0;
}

static uint16_t internet_checksum(const uint8_t *data, unsigned length)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	if (length % 2)
		sum += (uint32_t)data[length - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* type, code, checksum, identifier, sequence (here: which size), then the cookie and zeros. */
void path_mtu_send(struct path_mtu *path)
{
	static uint8_t packet[SIZE_MOST]; /* one thread */

	for (unsigned i = 0; i < path->count && path->sizes[i] > path->carried; i++) {
		unsigned length = path->sizes[i] - ip_header(path);
		uint16_t sum;

		memset(packet, 0, HEADER + sizeof path->cookie);
		packet[0] = path->family == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
		memcpy(packet + 4, path->cookie, 2);
		packet[7] = (uint8_t)i;
		memcpy(packet + HEADER, path->cookie, sizeof path->cookie);
		if (path->family == AF_INET) { /* of ICMPv6 the kernel knows it */
			sum = internet_checksum(packet, length);
			packet[2] = (uint8_t)(sum >> 8);
			packet[3] = (uint8_t)sum;
		}
		/* What can not be sent is not answered. */
		(void)!send(path->fd, packet, length, 0);
	}
}

static void take(struct path_mtu *path, const uint8_t *answer, size_t length, size_t whole)
{
	size_t skip = path->raw && path->family == AF_INET && length ? (answer[0] & 15u) * 4u : 0;
	uint8_t type = path->family == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
	unsigned i;

	if (length < skip + HEADER + sizeof path->cookie)
		return;
	answer += skip;
	i = answer[7];
	if (answer[0] != type || memcmp(answer + HEADER, path->cookie, sizeof path->cookie) != 0 ||
	    i >= path->count || whole - skip + ip_header(path) != path->sizes[i])
		return;
	if (path->sizes[i] > path->carried)
		path->carried = path->sizes[i];
}

bool path_mtu_receive(struct path_mtu *path)
{
	uint8_t answer[128];
	ssize_t length;

	for (unsigned i = 0; i < 1000; i++) {
		length = recv(path->fd, answer, sizeof answer, MSG_TRUNC | MSG_DONTWAIT);
		if (length < 0 && errno != EINTR && errno != EMSGSIZE && errno != EHOSTUNREACH)
			break; /* others tell of a packet that went before */
		if (length > 0)
			take(path, answer,
			     (size_t)length < sizeof answer ? (size_t)length : sizeof answer,
			     (size_t)length);
	}
	return path->carried == path->sizes[0];
}

void path_mtu_close(struct path_mtu *path)
{
	if (path->fd >= 0)
		close(path->fd);
	path->fd = -1;
}
