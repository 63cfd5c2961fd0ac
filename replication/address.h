/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPLICATION_ADDRESS_H
#define REPLICATION_ADDRESS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

/* Service addresses: those that clients know and that are on the primary's interface, wherever that
 * is. Set and taken away through rtnetlink (RFC 3549), told to the neighbours by gratuitous ARP
 * (RFC 5227 3, RFC 826) or unsolicited neighbour advertisements (RFC 4861 7.2.6). Context of all of
 * it: any thread; answers of the kernel are waited for, which takes no longer than a system call.
 */

struct service_address {
	int family; /* AF_INET, AF_INET6 */
	uint8_t bytes[16];
	unsigned prefix;             /* bits */
	char interface[IF_NAMESIZE]; /* "": the one that has an address of the same network */
};

/* address_parse: "192.0.2.10/24" or "2001:db8::10/64" of a host; @interface NULL or "": as above.
 * -EINVAL. address_print: the same text. */
#define ADDRESS_TEXT 64
int address_parse(const char *text, const char *interface, struct service_address *ret_address,
		  struct err *err) __attribute__((warn_unused_result));
void address_print(const struct service_address *address, char text[ADDRESS_TEXT]);

/* address_may: may this process change addresses and tell the neighbours? -EPERM. */
int address_may(struct err *err) __attribute__((warn_unused_result));
/* address_set: it is on its interface; there already is fine. address_clear: it is not; not there
 * is fine. -ENODEV (no such interface, or none of its network), -EPERM, ... address_announce:
 * whoever had it elsewhere is to find it here; once: worth repeating. */
int address_set(const struct service_address *address, struct err *err)
    __attribute__((warn_unused_result));
int address_clear(const struct service_address *address, struct err *err)
    __attribute__((warn_unused_result));
/* address_is_here: some interface has it, whoever set it. */
bool address_is_here(const struct service_address *address);
/* address_reset: TCP connections to it end at once, and their clients hear of it: one that waits
 * for an answer would else wait for its own timeout. Best effort, before address_clear(). */
void address_reset(const struct service_address *address);
int address_announce(const struct service_address *address, struct err *err)
    __attribute__((warn_unused_result));

/* The frames, for tests. address_arp: RFC 826, @reply or a request, both as RFC 5227 wants an
 * announcement. address_advertisement: RFC 4861 4.4 with the link-layer address; the kernel fills
 * in the checksum. */
#define ADDRESS_ARP           28u
#define ADDRESS_ADVERTISEMENT 32u
void address_arp(const uint8_t ip[4], const uint8_t mac[6], bool reply,
		 uint8_t ret_frame[ADDRESS_ARP]);
void address_advertisement(const uint8_t ip[16], const uint8_t mac[6],
			   uint8_t ret_message[ADDRESS_ADVERTISEMENT]);

#endif
