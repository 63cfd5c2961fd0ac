/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_RULES_H
#define ISCSI_RULES_H

#include <stdbool.h>
#include <sys/socket.h>

#include "iscsi/iscsi.h"

/* Who may log in: initiator name and address against rules. Pure code, any context. */

/* The first of @rules that lets @initiator from @peer in, NULL if none does. */
const struct iscsi_rule *rules_find(const struct iscsi_rule *rules, unsigned count,
				    const char *initiator, const struct sockaddr *peer);
/* rules_network_has: is @peer inside @network ("10.0.0.0/8", "fe80::1", "" = any). An IPv4
 * address in IPv6 clothes (::ffff:a.b.c.d) counts as IPv4. false for an ill-formed network. */
bool rules_network_has(const char *network, const struct sockaddr *peer);
bool rules_network_valid(const char *network);
/* Is there no room for one more session beside @all of the target, @own of them its initiator's? */
enum rules_full { RULES_NOT_FULL, RULES_TARGET_FULL, RULES_INITIATOR_FULL };
enum rules_full rules_full(const struct iscsi_session_limits *limits, unsigned all, unsigned own);

#endif
