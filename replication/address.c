/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_MAX 4096u
#define DUMP_MAX   32768u /* the kernel's pieces of a list are no larger */

static unsigned length_of(const struct service_address *address)
{
	return address->family == AF_INET ? 4 : 16;
}

/* ---- texts ---- */
static bool is_host(const struct service_address *address)
{
	static const uint8_t nothing[16];

	if (memcmp(address->bytes, nothing, length_of(address)) == 0)
		return false;
	if (address->family == AF_INET)
		return address->bytes[0] < 224 && address->bytes[0] != 127 && address->bytes[0];
	/* Not multicast; a link-local one can not be told apart without a scope. */
	return address->bytes[0] != 0xff &&
	       !(address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80);
}

int address_parse(const char *text, const char *interface, struct service_address *ret_address,
		  struct err *err)
{
	struct service_address address = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};
	const char *slash = strchr(text, '/');
	char host[ADDRESS_TEXT], *end = NULL;
	unsigned long prefix =
	    slash && slash[1] >= '0' && slash[1] <= '9' ? strtoul(slash + 1, &end, 10) : 0;

	if (!end || *end || prefix == 0 || (size_t)(slash - text) >= sizeof host)
		return err_set(err, -EINVAL, "an address is ADDR/PREFIX, not %s", text);
	snprintf(host, sizeof host, "%.*s", (int)(slash - text), text);
	if (inet_pton(address.family, host, address.bytes) != 1 || !is_host(&address) ||
	    prefix > 8ul * length_of(&address))
		return err_set(err, -EINVAL, "%s is no address of a host", text);
	if (interface && strlen(interface) >= sizeof address.interface)
		return err_set(err, -EINVAL, "%s is no name of an interface", interface);
	address.prefix = (unsigned)prefix;
	snprintf(address.interface, sizeof address.interface, "%s", interface ? interface : "");
	*ret_address = address;
	return 0;
}

void address_print(const struct service_address *address, char text[ADDRESS_TEXT])
{
	char host[INET6_ADDRSTRLEN] = "?";

	inet_ntop(address->family, address->bytes, host, sizeof host);
	snprintf(text, ADDRESS_TEXT, "%s/%u", host, address->prefix);
}

/* ---- privileges ---- */
int address_may(struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	uint32_t wanted = 1u << CAP_NET_ADMIN | 1u << CAP_NET_RAW;

	if (syscall(SYS_capget, &header, data) < 0 || (data[0].effective & wanted) != wanted)
		return err_set(err, -EPERM,
			       "the daemon may not change the machine's addresses: it has to be "
			       "started with CAP_NET_ADMIN and CAP_NET_RAW");
	return 0;
}

/* ---- interfaces ---- */
static const uint8_t *bytes_of(const struct sockaddr *address)
{
	const struct sockaddr_in *four = (const void *)address;
	const struct sockaddr_in6 *six = (const void *)address;

	return address->sa_family == AF_INET ? (const uint8_t *)&four->sin_addr
					     : (const uint8_t *)&six->sin6_addr;
}

/* Is @address in the network of an interface's address? */
static bool in_network(const struct service_address *address, const struct ifaddrs *one)
{
	const uint8_t *own, *mask;

	if (!one->ifa_addr || !one->ifa_netmask || one->ifa_addr->sa_family != address->family ||
	    !(one->ifa_flags & IFF_UP))
		return false;
	own = bytes_of(one->ifa_addr);
	mask = bytes_of(one->ifa_netmask);
	if (memcmp(own, address->bytes, length_of(address)) == 0)
		return false; /* itself, left behind or set already: says nothing of where it
				 belongs */
	for (unsigned i = 0; i < length_of(address); i++) {
		if ((own[i] ^ address->bytes[i]) & mask[i])
			return false;
	}
	return true;
}

static int find_interface(const struct service_address *address, unsigned *ret_index,
			  struct err *err)
{
	char text[ADDRESS_TEXT];
	struct ifaddrs *list = NULL;
	unsigned index = 0;

	if (address->interface[0]) {
		*ret_index = if_nametoindex(address->interface);
		return *ret_index ? 0
				  : err_set(err, -ENODEV, "there is no interface %s here",
					    address->interface);
	}
	if (getifaddrs(&list) < 0)
		return err_set(err, -errno, "interfaces: %s", strerror(errno));
	for (const struct ifaddrs *one = list; one && !index; one = one->ifa_next) {
		if (in_network(address, one))
			index = if_nametoindex(one->ifa_name);
	}
	freeifaddrs(list);
	address_print(address, text);
	if (!index)
		return err_set(err, -ENODEV,
			       "no interface here has an address of the network of %s: name one",
			       text);
	*ret_index = index;
	return 0;
}

bool address_is_here(const struct service_address *address)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list) < 0)
		return false;
	for (const struct ifaddrs *one = list; one && !found; one = one->ifa_next)
		found = one->ifa_addr && one->ifa_addr->sa_family == address->family &&
			memcmp(bytes_of(one->ifa_addr), address->bytes, length_of(address)) == 0;
	freeifaddrs(list);
	return found;
}

/* ---- rtnetlink ---- */
struct change {
	struct nlmsghdr header;
	struct ifaddrmsg message;
	uint8_t attributes[128];
};

static void put_attribute(struct change *change, unsigned short type, const void *data,
			  size_t length)
{
	struct rtattr attribute = {.rta_len = (unsigned short)RTA_LENGTH(length), .rta_type = type};
	uint8_t *to = (uint8_t *)change + NLMSG_ALIGN(change->header.nlmsg_len);

	memcpy(to, &attribute, sizeof attribute);
	memcpy(to + RTA_LENGTH(0), data, length);
	change->header.nlmsg_len =
	    NLMSG_ALIGN(change->header.nlmsg_len) + (uint32_t)RTA_ALIGN(attribute.rta_len);
}

static void fill_change(struct change *change, const struct service_address *address,
			unsigned index, bool set)
{
	uint32_t flags = IFA_F_NODAD; /* the group knows who has it */

	*change = (struct change){
	    .header = {.nlmsg_len = NLMSG_LENGTH(sizeof change->message),
		       .nlmsg_type = set ? RTM_NEWADDR : RTM_DELADDR,
		       .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK |
						 (set ? NLM_F_CREATE | NLM_F_EXCL : 0)),
		       .nlmsg_seq = 1},
	    .message = {.ifa_family = (uint8_t)address->family,
			.ifa_prefixlen = (uint8_t)address->prefix,
			.ifa_index = index},
	};
	put_attribute(change, IFA_LOCAL, address->bytes, length_of(address));
	put_attribute(change, IFA_ADDRESS, address->bytes, length_of(address));
	if (set && address->family == AF_INET6)
		put_attribute(change, IFA_FLAGS, &flags, sizeof flags);
}

/* 0 or -errno, as the kernel answered. */
static int answer_of(int fd)
{
	_Alignas(struct nlmsghdr) uint8_t bytes[ANSWER_MAX];
	ssize_t length = recv(fd, bytes, sizeof bytes, 0);
	const struct nlmsghdr *header = (const void *)bytes;
	const struct nlmsgerr *answer = (const void *)(bytes + NLMSG_HDRLEN);

	if (length < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if ((size_t)length < NLMSG_LENGTH(sizeof *answer) || header->nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer->error;
}

static int tell_kernel(const struct change *change)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct timeval limit = {.tv_sec = 1};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), result = 0;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
	    sendto(fd, change, change->header.nlmsg_len, 0, (const struct sockaddr *)&kernel,
		   sizeof kernel) < 0)
		result = -errno;
	if (result == 0)
		result = answer_of(fd);
	close(fd);
	return result;
}

static int change_address(const struct service_address *address, bool set, struct err *err)
{
	struct change change;
	char text[ADDRESS_TEXT];
	unsigned index;
	int result = find_interface(address, &index, err);

	if (result < 0)
		return result;
	fill_change(&change, address, index, set);
	result = tell_kernel(&change);
	if (result == (set ? -EEXIST : -EADDRNOTAVAIL))
		return 0;
	address_print(address, text);
	return result < 0 ? err_set(err, result, "address %s can not be %s: %s", text,
				    set ? "set" : "taken away", strerror(-result))
			  : 0;
}

int address_set(const struct service_address *address, struct err *err)
{
	return change_address(address, true, err);
}

int address_clear(const struct service_address *address, struct err *err)
{
	return change_address(address, false, err);
}

/* ---- connections ---- */
struct diag_request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 body;
};

static struct diag_request diag_request(uint16_t type, uint16_t flags, int family)
{
	return (struct diag_request){
	    .header = {.nlmsg_len = sizeof(struct diag_request),
		       .nlmsg_type = type,
		       .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
		       .nlmsg_seq = 1},
	    .body = {.sdiag_family = (uint8_t)family,
		     .sdiag_protocol = IPPROTO_TCP,
		     .idiag_states = ~(1u << TCP_LISTEN)},
	};
}

/* An IPv4 connection of an IPv6 socket has its address behind ::ffff. */
static bool is_of(const struct inet_diag_msg *found, const struct service_address *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
	const uint8_t *source = (const uint8_t *)found->id.idiag_src;

	if (found->idiag_family == address->family)
		return memcmp(source, address->bytes, length_of(address)) == 0;
	return found->idiag_family == AF_INET6 && memcmp(source, mapped, sizeof mapped) == 0 &&
	       memcmp(source + sizeof mapped, address->bytes, 4) == 0;
}

static void end_connection(int fd, const struct inet_diag_msg *found)
{
	struct diag_request request = diag_request(SOCK_DESTROY, NLM_F_ACK, found->idiag_family);

	request.body.id = found->id;
	/* One that has ended meanwhile is fine; so is a kernel without this. */
	if (send(fd, &request, sizeof request, 0) > 0)
		(void)answer_of(fd);
}

/* True: there is more to come. */
static bool end_listed(int fd, const uint8_t *bytes, size_t length,
		       const struct service_address *address)
{
	while (length >= NLMSG_HDRLEN) {
		const struct nlmsghdr *header = (const void *)bytes;
		const struct inet_diag_msg *found = (const void *)(bytes + NLMSG_HDRLEN);
		size_t whole = NLMSG_ALIGN(header->nlmsg_len);

		if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
		    header->nlmsg_len < NLMSG_LENGTH(sizeof *found) || whole > length)
			return false;
		if (is_of(found, address))
			end_connection(fd, found);
		bytes += whole;
		length -= whole;
	}
	return true;
}

static int diag_socket(void)
{
	struct timeval limit = {.tv_sec = 1};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
			connect(fd, (const struct sockaddr *)&kernel, sizeof kernel) < 0)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void reset_family(int family, const struct service_address *address)
{
	struct diag_request request = diag_request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family);
	_Alignas(struct nlmsghdr) uint8_t bytes[DUMP_MAX];
	int list = diag_socket(), end = diag_socket();
	ssize_t length = list >= 0 && end >= 0 ? send(list, &request, sizeof request, 0) : -1;

	while (length > 0) {
		length = recv(list, bytes, sizeof bytes, 0);
		if (length > 0 && !end_listed(end, bytes, (size_t)length, address))
			break;
	}
	if (list >= 0)
		close(list);
	if (end >= 0)
		close(end);
}

void address_reset(const struct service_address *address)
{
	reset_family(AF_INET6, address);
	if (address->family == AF_INET)
		reset_family(AF_INET, address);
}

/* ---- telling the neighbours ---- */
void address_arp(const uint8_t ip[4], const uint8_t mac[6], bool reply,
		 uint8_t ret_frame[ADDRESS_ARP])
{
	static const uint8_t head[7] = {0, 1, 8, 0, 6, 4, 0}; /* Ethernet, IPv4, their lengths */

	memset(ret_frame, 0, ADDRESS_ARP);
	memcpy(ret_frame, head, sizeof head);
	ret_frame[7] = reply ? 2 : 1;
	memcpy(ret_frame + 8, mac, 6);
	memcpy(ret_frame + 14, ip, 4);
	if (reply)
		memset(ret_frame + 18, 0xff, 6);
	memcpy(ret_frame + 24, ip, 4);
}

void address_advertisement(const uint8_t ip[16], const uint8_t mac[6],
			   uint8_t ret_message[ADDRESS_ADVERTISEMENT])
{
	memset(ret_message, 0, ADDRESS_ADVERTISEMENT);
	ret_message[0] = ND_NEIGHBOR_ADVERT;
	ret_message[4] = 0x20; /* override: forget where it was */
	memcpy(ret_message + 8, ip, 16);
	ret_message[24] = ND_OPT_TARGET_LINKADDR;
	ret_message[25] = 1; /* in units of 8 bytes */
	memcpy(ret_message + 26, mac, 6);
}

/* False: an interface without Ethernet addresses, where nobody has to be told. */
static bool hardware_address(unsigned index, uint8_t mac[6])
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {0};
	bool good = fd >= 0 && if_indextoname(index, request.ifr_name) &&
		    ioctl(fd, SIOCGIFHWADDR, &request) == 0 && request.ifr_hwaddr.sa_family == 1;

	if (good)
		memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	if (fd >= 0)
		close(fd);
	return good;
}

static int announce_arp(const struct service_address *address, unsigned index, const uint8_t mac[6])
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ARP),
				 .sll_ifindex = (int)index,
				 .sll_halen = 6};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result = 0;

	if (fd < 0)
		return -errno;
	memset(to.sll_addr, 0xff, 6);
	for (unsigned reply = 0; reply < 2 && result == 0; reply++) {
		uint8_t frame[ADDRESS_ARP];

		address_arp(address->bytes, mac, reply, frame);
		if (sendto(fd, frame, sizeof frame, MSG_DONTWAIT, (const struct sockaddr *)&to,
			   sizeof to) < 0)
			result = -errno;
	}
	close(fd);
	return result;
}

static int announce_neighbour(const struct service_address *address, unsigned index,
			      const uint8_t mac[6])
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_scope_id = index};
	struct sockaddr_in6 from = {.sin6_family = AF_INET6};
	uint8_t message[ADDRESS_ADVERTISEMENT];
	int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6), hops = 255, result = 0;

	if (fd < 0)
		return -errno;
	to.sin6_addr = (struct in6_addr){.s6_addr = {0xff, 2, [15] = 1}};
	memcpy(&from.sin6_addr, address->bytes, 16);
	address_advertisement(address->bytes, mac, message);
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) < 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) < 0 ||
	    bind(fd, (const struct sockaddr *)&from, sizeof from) < 0 ||
	    sendto(fd, message, sizeof message, MSG_DONTWAIT, (const struct sockaddr *)&to,
		   sizeof to) < 0)
		result = -errno;
	close(fd);
	return result;
}

int address_announce(const struct service_address *address, struct err *err)
{
	char text[ADDRESS_TEXT];
	uint8_t mac[6];
	unsigned index;
	int result = find_interface(address, &index, err);

	if (result < 0 || !hardware_address(index, mac))
		return result;
	result = address->family == AF_INET ? announce_arp(address, index, mac)
					    : announce_neighbour(address, index, mac);
	address_print(address, text);
	return result < 0 ? err_set(err, result, "the neighbours can not be told of %s: %s", text,
				    strerror(-result))
			  : 0;
}
