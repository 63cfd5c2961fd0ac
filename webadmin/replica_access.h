/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_REPLICA_ACCESS_H
#define WEBADMIN_REPLICA_ACCESS_H

#include <jansson.h>

#include "core/err.h"
#include "webadmin/webadmin.h"

/* Inside webadmin/: who is let in to the volumes of a replication group and what is reserved there,
 * for the group's other node (replication.h has what each is for). Secrets are in it: it goes over
 * the link between the nodes and is kept sealed with the node's own key, nothing else.
 *
 * {"targets": [{"iqn", "rules": [{"initiator", "network", "chap_user", "chap_secret",
 *   "mutual_user", "mutual_secret"}],    rules in their order; without a secret that has a user: it
 *                                        is not known here
 *   "masks": [{"volume": UUID, "hosts"}]}],  LUNs that only these host groups see
 *  "hosts": [{"name", "initiators"}],        those groups
 *  "reservations": [{"volume": UUID, "state": hex of scsi_reservations_export()}]}
 */
int access_describe(void *context, const uint8_t (*uuids)[16], unsigned count, json_t **ret_access);
int access_check(void *context, const json_t *access, struct err *err);
int access_seal(void *context, const char *owner, const uint8_t *data, size_t length,
		uint8_t **ret_sealed, size_t *ret_length);
int access_unseal(void *context, const char *owner, const uint8_t *sealed, size_t length,
		  uint8_t **ret_data, size_t *ret_length);
void access_reserve(void *context, const json_t *access, const uint8_t (*uuids)[16], unsigned count,
		    void (*done)(void *waiting, int result), void *waiting);
/* access_apply_rules: the target @iqn gets the rules that @access has of it, in their order; one of
 * which it shows nothing but @luns loses others. False: @access (NULL is fine) has none of it. */
bool access_apply_rules(struct webadmin *admin, const json_t *access, const char *iqn,
			const json_t *luns);
/* access_apply_hosts: the host groups that @access (NULL is fine) has are made, and get the
 * initiators that they lack; none is taken out.
 * access_mask: the host groups that see the volume @uuid (text) at @iqn, a list of the caller's;
 * empty: everybody who is let in; NULL: @access does not say. */
void access_apply_hosts(struct webadmin *admin, const json_t *access);
json_t *access_mask(const json_t *access, const char *iqn, const char *uuid);

/* replica.c */
bool replica_lists(const uint8_t (*uuids)[16], unsigned count, const uint8_t uuid[16]);
/* replica_call: a request of the daemon's own for exports that are being made; steals @body. */
void replica_call(struct webadmin *admin, const char *method, const char *path, json_t *body);

#endif
