/* SPDX-License-Identifier: Apache-2.0 */
#include "iscsi/rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "iscsi/text.h"

#define SECRET_MIN 12u

struct network {
	int family;
	uint8_t address[16];
	unsigned bits, bits_max;
};

static bool parse_network(const char *text, struct network *network)
{
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	char address[64];
	uint32_t bits;

	if (length >= sizeof(address))
		return false;
	memcpy(address, text, length);
	address[length] = '\0';
	network->family = strchr(address, ':') ? AF_INET6 : AF_INET;
	network->bits_max = network->family == AF_INET6 ? 128 : 32;
	network->bits = network->bits_max;
	if (inet_pton(network->family, address, network->address) != 1)
		return false;
	if (!slash)
		return true;
	if (text_number(slash + 1, &bits) < 0 || bits > network->bits_max)
		return false;
	network->bits = bits;
	return true;
}

static bool peer_address(const struct sockaddr *peer, int *family, uint8_t address[16])
{
	*family = peer->sa_family;
	if (peer->sa_family == AF_INET) {
		memcpy(address, &((const struct sockaddr_in *)peer)->sin_addr, 4);
		return true;
	}
	if (peer->sa_family != AF_INET6)
		return false;
	memcpy(address, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
	if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)address)) {
		memmove(address, address + 12, 4);
		*family = AF_INET;
	}
	return true;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned rest = bits % 8;

	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) & (0xff00 >> rest) & 0xff) == 0;
}

bool rules_network_valid(const char *text)
{
	struct network network;

	return !*text || parse_network(text, &network);
}

bool rules_network_has(const char *text, const struct sockaddr *peer)
{
	struct network network;
	uint8_t address[16];
	int family;

	if (!*text)
		return true;
	return parse_network(text, &network) && peer_address(peer, &family, address) &&
	       family == network.family && same_bits(network.address, address, network.bits);
}

static bool initiator_matches(const struct iscsi_rule *rule, const char *initiator)
{
	return !rule->initiator[0] || !strcmp(rule->initiator, "any") ||
	       !strcmp(rule->initiator, initiator);
}

const struct iscsi_rule *rules_find(const struct iscsi_rule *rules, unsigned count,
				    const char *initiator, const struct sockaddr *peer)
{
	for (unsigned i = 0; i < count; i++)
		if (initiator_matches(&rules[i], initiator) &&
		    rules_network_has(rules[i].network, peer))
			return &rules[i];
	return NULL;
}

static int check_secret(const char *what, const char *user, unsigned length, struct err *err)
{
	if (user[0] && (length < SECRET_MIN || length > 255))
		return err_set(err, -EINVAL, "a %s secret has 12 to 255 bytes, not %u", what,
			       length);
	return 0;
}

int iscsi_rule_check(const struct iscsi_rule *rule, struct err *err)
{
	bool named = rule->initiator[0] && strcmp(rule->initiator, "any") != 0;

	if (named && iscsi_name_check(rule->initiator, err) < 0)
		return -EINVAL;
	if (!rules_network_valid(rule->network))
		return err_set(err, -EINVAL, "\"%s\" is no network like 10.0.0.0/8 or fd00::/8",
			       rule->network);
	if (check_secret("CHAP", rule->chap_user, rule->chap_secret_length, err) < 0 ||
	    check_secret("mutual CHAP", rule->mutual_user, rule->mutual_secret_length, err) < 0)
		return -EINVAL;
	if (rule->mutual_user[0] && !rule->chap_user[0])
		return err_set(err, -EINVAL, "mutual CHAP needs a CHAP user for the initiator too");
	if (rule->mutual_user[0] && rule->mutual_secret_length == rule->chap_secret_length &&
	    !memcmp(rule->mutual_secret, rule->chap_secret, rule->chap_secret_length))
		return err_set(err, -EINVAL, "the two CHAP secrets must differ");
	return 0;
}

enum rules_full rules_full(const struct iscsi_session_limits *limits, unsigned all, unsigned own)
{
	if (limits->initiator && own >= limits->initiator)
		return RULES_INITIATOR_FULL;
	return limits->target && all >= limits->target ? RULES_TARGET_FULL : RULES_NOT_FULL;
}
