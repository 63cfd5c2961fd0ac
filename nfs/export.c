/* SPDX-License-Identifier: Apache-2.0 */
#include "nfs/export.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "shares/handle.h"

/* ---- networks */

static bool parse_bits(const char *text, unsigned max, unsigned *ret_bits)
{
	char *end;
	unsigned long bits;

	if (*text < '0' || *text > '9')
		return false;
	bits = strtoul(text, &end, 10);
	if (*end || bits > max)
		return false;
	*ret_bits = (unsigned)bits;
	return true;
}

bool nfs_network_parse(const char *text, struct nfs_network *ret_network)
{
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	struct nfs_network network = {0};
	char address[NFS_CLIENT_TEXT_MAX + 1];
	unsigned max;

	if (strcmp(text, "*") == 0) {
		*ret_network = (struct nfs_network){.family = AF_UNSPEC};
		return true;
	}
	if (length >= sizeof(address))
		return false;
	memcpy(address, text, length);
	address[length] = '\0';
	network.family = strchr(address, ':') ? AF_INET6 : AF_INET;
	max = network.family == AF_INET6 ? 128 : 32;
	network.bits = max;
	if (inet_pton(network.family, address, network.address) != 1 ||
	    (slash && !parse_bits(slash + 1, max, &network.bits)))
		return false;
	*ret_network = network;
	return true;
}

bool nfs_address_from(const struct sockaddr *peer, struct nfs_address *ret_address)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)peer;
	const struct sockaddr_in *four = (const struct sockaddr_in *)peer;

	*ret_address = (struct nfs_address){.family = peer->sa_family};
	if (peer->sa_family == AF_INET) {
		memcpy(ret_address->bytes, &four->sin_addr, 4);
		ret_address->port = ntohs(four->sin_port);
		return true;
	}
	if (peer->sa_family != AF_INET6)
		return false;
	ret_address->port = ntohs(six->sin6_port);
	memcpy(ret_address->bytes, &six->sin6_addr, 16);
	if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		memmove(ret_address->bytes, ret_address->bytes + 12, 4);
		ret_address->family = AF_INET;
	}
	return true;
}

static bool network_has(const struct nfs_network *network, const struct nfs_address *address)
{
	unsigned whole = network->bits / 8, rest = network->bits % 8;

	if (network->family == AF_UNSPEC)
		return true;
	if (network->family != address->family ||
	    memcmp(network->address, address->bytes, whole) != 0)
		return false;
	return rest == 0 || ((network->address[whole] ^ address->bytes[whole]) >> (8 - rest)) == 0;
}

/* Longer prefixes first, "*" behind 0.0.0.0/0; of equal ones the earlier rule. */
static int length_of(const struct nfs_network *network)
{
	return network->family == AF_UNSPEC ? -1 : (int)network->bits;
}

/* ---- rules */

int nfs_rule_check(const struct nfs_rule *rule, struct err *err)
{
	struct nfs_network network;

	if (!nfs_network_parse(rule->client, &network))
		return err_set(err, -EINVAL,
			       "\"%s\" is no client: an address, a network like 10.0.0.0/8 or "
			       "fd00::/8, or *",
			       rule->client);
	return 0;
}

int nfs_explain(const struct nfs_rule *rules, unsigned count, const char *client, int *ret_index,
		struct err *err)
{
	struct nfs_network one, network;
	struct nfs_address address = {0};
	int best = -1, best_length = -2;

	if (!nfs_network_parse(client, &one) || one.family == AF_UNSPEC || strchr(client, '/'))
		return err_set(err, -EINVAL, "\"%s\" is no address", client);
	address.family = one.family;
	memcpy(address.bytes, one.address, sizeof(address.bytes));
	for (unsigned i = 0; i < count; i++)
		if (nfs_network_parse(rules[i].client, &network) &&
		    network_has(&network, &address) && length_of(&network) > best_length) {
			best = (int)i;
			best_length = length_of(&network);
		}
	*ret_index = best;
	return 0;
}

const struct nfs_rule *nfs_export_rule(const struct nfs_export *export,
				       const struct nfs_address *address)
{
	const struct nfs_client_rule *best = NULL;

	for (unsigned i = 0; i < export->rule_count; i++) {
		const struct nfs_client_rule *rule = &export->rules[i];

		if (network_has(&rule->network, address) &&
		    (!best || length_of(&rule->network) > length_of(&best->network)))
			best = rule;
	}
	return best ? &best->rule : NULL;
}

/* ---- the table */

static int compare_ids(const void *a, const void *b)
{
	const struct nfs_export *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int fill_export(const struct nfs_share *share, struct nfs_export *export, struct err *err)
{
	if (share->path[0] != '/' || !share->path[1] || strchr(share->path + 1, '/') ||
	    strlen(share->path) > NFS_PATH_MAX)
		return err_set(err, -EINVAL, "\"%s\" is no export path", share->path);
	if (share->rule_count > NFS_RULES_MAX)
		return err_set(err, -ENOSPC, "more than %u rules on %s", NFS_RULES_MAX,
			       share->path);
	snprintf(export->path, sizeof(export->path), "%s", share->path);
	export->rules =
	    heap_zalloc_array(share->rule_count ? share->rule_count : 1, sizeof(*export->rules));
	if (!export->rules)
		return err_set(err, -ENOMEM, "no memory for exports");
	for (unsigned i = 0; i < share->rule_count; i++) {
		export->rules[i].rule = share->rules[i];
		if (nfs_rule_check(&share->rules[i], err) < 0)
			return -EINVAL;
		nfs_network_parse(share->rules[i].client, &export->rules[i].network);
	}
	export->rule_count = share->rule_count;
	export->versions = share->versions;
	export->id = handle_volume(share->vfs);
	export->vfs = vfs_ref(share->vfs);
	return 0;
}

static int check_unique(const struct nfs_table *table, struct err *err)
{
	for (unsigned i = 0; i < table->count; i++)
		for (unsigned j = 0; j < i; j++)
			if (table->exports[i].id == table->exports[j].id ||
			    strcmp(table->exports[i].path, table->exports[j].path) == 0)
				return err_set(err, -EEXIST, "%s is exported twice",
					       table->exports[i].path);
	return 0;
}

int nfs_table_create(const struct nfs_share *shares, unsigned count, uint64_t generation,
		     struct nfs_table **ret_table, struct err *err)
{
	struct nfs_table *table;
	int result = 0;

	if (count > NFS_SHARES_MAX)
		return err_set(err, -ENOSPC, "more than %u shares", NFS_SHARES_MAX);
	table = heap_zalloc(sizeof(*table) + count * sizeof(table->exports[0]));
	if (!table)
		return err_set(err, -ENOMEM, "no memory for exports");
	table->refs = 1;
	table->generation = generation;
	for (unsigned i = 0; result == 0 && i < count; i++) {
		if (shares[i].vfs)
			result = fill_export(&shares[i], &table->exports[table->count++], err);
		else
			table->away = true;
	}
	if (result == 0)
		result = check_unique(table, err);
	if (result < 0) {
		nfs_table_unref(table);
		return result;
	}
	qsort(table->exports, table->count, sizeof(table->exports[0]), compare_ids);
	*ret_table = table;
	return 0;
}

struct nfs_table *nfs_table_ref(struct nfs_table *table)
{
	__atomic_fetch_add(&table->refs, 1, __ATOMIC_RELAXED);
	return table;
}

static void tell_gone(struct message *message)
{
	struct nfs_table *table = container_of(message, struct nfs_table, message);

	table->gone(table->gone_context);
	heap_free(table);
}

void nfs_table_unref(struct nfs_table *table)
{
	if (!table || __atomic_fetch_sub(&table->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	for (unsigned i = 0; i < table->count; i++) {
		vfs_unref(table->exports[i].vfs);
		heap_free(table->exports[i].rules);
	}
	if (table->gone)
		loop_post(table->control, &table->message, tell_gone);
	else
		heap_free(table);
}

const struct nfs_export *nfs_table_by_id(const struct nfs_table *table, uint64_t id)
{
	struct nfs_export key = {.id = id};

	return bsearch(&key, table->exports, table->count, sizeof(key), compare_ids);
}

const struct nfs_export *nfs_table_by_path(const struct nfs_table *table, const char *path,
					   size_t length)
{
	for (unsigned i = 0; i < table->count; i++)
		if (strlen(table->exports[i].path) == length &&
		    memcmp(table->exports[i].path, path, length) == 0)
			return &table->exports[i];
	return NULL;
}
