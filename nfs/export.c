/* SPDX-License-Identifier: Apache-2.0 */
#include "nfs/export.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "nfs/names.h"
#include "nfs/stats.h"
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

const char *nfs_certificate_name(const char *client)
{
	static const char prefix[] = NFS_CERTIFICATE;

	return strncmp(client, prefix, sizeof(prefix) - 1) == 0 ? client + sizeof(prefix) - 1
								: NULL;
}

/* As nfs/tls.c takes names from certificates: printable, without blanks. */
static bool certificate_good(const char *name)
{
	for (const char *at = name; *at; at++)
		if (*at <= ' ' || *at > '~')
			return false;
	return *name;
}

int nfs_rule_check(const struct nfs_rule *rule, struct err *err)
{
	const char *certificate = nfs_certificate_name(rule->client);
	struct nfs_network network;

	if (certificate && certificate_good(certificate))
		return 0;
	if (!nfs_network_parse(rule->client, &network) && !nfs_name_valid(rule->client))
		return err_set(err, -EINVAL,
			       "\"%s\" is no client: an address, a network like 10.0.0.0/8 or "
			       "fd00::/8, the name of a host, *, or cert:NAME for whoever has a "
			       "certificate with that name",
			       rule->client);
	return 0;
}

/* Whom a rule is for now. */
static unsigned networks_of(const struct nfs_names *names, const struct nfs_rule *rule,
			    struct nfs_network networks[NFS_NAME_ADDRESSES])
{
	const struct nfs_name *name;

	if (nfs_network_parse(rule->client, &networks[0]))
		return 1;
	name = nfs_names_find(names, rule->client);
	if (!name)
		return 0;
	memcpy(networks, name->addresses, name->count * sizeof(networks[0]));
	return name->count;
}

/* How long a prefix of those that have @address is; -2: none has it. */
static int longest(const struct nfs_network *networks, unsigned count,
		   const struct nfs_address *address)
{
	int best = -2;

	for (unsigned i = 0; i < count; i++)
		if (network_has(&networks[i], address) && length_of(&networks[i]) > best)
			best = length_of(&networks[i]);
	return best;
}

bool nfs_host_show(const struct nfs_names *names, const char *client, struct nfs_host *ret_host)
{
	const struct nfs_name *name = nfs_names_find(names, client);

	*ret_host = (struct nfs_host){0};
	if (!nfs_name_valid(client))
		return false;
	if (!name)
		return true;
	ret_host->answered = name->answered;
	ret_host->count = name->count;
	for (unsigned i = 0; i < name->count; i++)
		inet_ntop(name->addresses[i].family, name->addresses[i].address,
			  ret_host->addresses[i], sizeof(ret_host->addresses[i]));
	snprintf(ret_host->trouble, sizeof(ret_host->trouble), "%s", name->trouble);
	return true;
}

static int find_certificate(const struct nfs_rule *rules, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++) {
		const char *own = nfs_certificate_name(rules[i].client);

		if (own && strcasecmp(own, name) == 0)
			return (int)i;
	}
	return -1;
}

int nfs_rules_explain(const struct nfs_names *names, const struct nfs_rule *rules, unsigned count,
		      const char *client, int *ret_index, struct err *err)
{
	struct nfs_network one, networks[NFS_NAME_ADDRESSES];
	struct nfs_address address = {0};
	int best = -1, best_length = -2;

	if (nfs_certificate_name(client)) {
		*ret_index = find_certificate(rules, count, nfs_certificate_name(client));
		return 0;
	}
	if (!nfs_network_parse(client, &one) || one.family == AF_UNSPEC || strchr(client, '/'))
		return err_set(err, -EINVAL, "\"%s\" is no address", client);
	address.family = one.family;
	memcpy(address.bytes, one.address, sizeof(address.bytes));
	for (unsigned i = 0; i < count; i++) {
		int length = longest(networks, networks_of(names, &rules[i], networks), &address);

		if (length > best_length) {
			best = (int)i;
			best_length = length;
		}
	}
	*ret_index = best;
	return 0;
}

static const struct nfs_client_rule *rule_of_peer(const struct nfs_export *export,
						  const struct nfs_peer *peer)
{
	for (unsigned i = 0; i < export->rule_count; i++)
		for (unsigned k = 0; export->rules[i].certificate && k < peer->name_count; k++)
			if (strcasecmp(export->rules[i].certificate, peer->names[k]) == 0)
				return &export->rules[i];
	return NULL;
}

const struct nfs_rule *nfs_export_rule(const struct nfs_export *export,
				       const struct nfs_address *address,
				       const struct nfs_peer *peer, bool *ret_whole)
{
	const struct nfs_client_rule *best = peer ? rule_of_peer(export, peer) : NULL;
	int best_length = -2;

	if (best) {
		if (ret_whole)
			*ret_whole = true;
		return &best->rule;
	}
	for (unsigned i = 0; i < export->rule_count; i++) {
		const struct nfs_client_rule *rule = &export->rules[i];
		int length = longest(rule->networks, rule->network_count, address);

		if (length > best_length) {
			best = rule;
			best_length = length;
		}
	}
	if (ret_whole)
		*ret_whole = best_length == (address->family == AF_INET6 ? 128 : 32);
	return best ? &best->rule : NULL;
}

/* ---- the table */

static int compare_ids(const void *a, const void *b)
{
	const struct nfs_export *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int fill_rule(const struct nfs_rule *rule, const struct nfs_names *names,
		     struct nfs_export *export, struct err *err)
{
	struct nfs_client_rule *own = &export->rules[export->rule_count++];
	const struct nfs_name *name = nfs_names_find(names, rule->client);

	own->rule = *rule;
	own->rule.read_only = rule->read_only || export->vfs->read_only;
	own->certificate = nfs_certificate_name(own->rule.client);
	if (own->certificate)
		own->rule.security = NFS_SECURITY_MTLS;
	own->network_count = networks_of(names, rule, own->networks);
	export->unsettled = export->unsettled || (name && !name->answered);
	return nfs_rule_check(rule, err);
}

static int fill_export(const struct nfs_share *share, const struct nfs_names *names,
		       struct nfs_export *export, struct err *err)
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
	export->vfs = vfs_ref(share->vfs);
	for (unsigned i = 0; i < share->rule_count; i++)
		if (fill_rule(&share->rules[i], names, export, err) < 0)
			return -EINVAL;
	export->versions = share->versions;
	export->id = handle_volume(share->vfs);
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

static int add_away(struct nfs_table *table, uint64_t id, struct err *err)
{
	uint64_t *ids = heap_resize(table->away_ids, (table->away_count + 1) * sizeof(*ids));

	if (!ids)
		return err_set(err, -ENOMEM, "no memory for exports");
	table->away_ids = ids;
	ids[table->away_count++] = id;
	return 0;
}

bool nfs_table_is_away(const struct nfs_table *table, uint64_t id)
{
	for (unsigned i = 0; i < table->away_count; i++)
		if (table->away_ids[i] == id)
			return true;
	return table->away;
}

int nfs_table_create(const struct nfs_share *shares, unsigned count, uint64_t generation,
		     const struct nfs_names *names, struct nfs_table **ret_table, struct err *err)
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
			result =
			    fill_export(&shares[i], names, &table->exports[table->count++], err);
		else if (shares[i].away_id)
			result = add_away(table, shares[i].away_id, err);
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

static int renew_export(const struct nfs_export *old, const struct nfs_names *names,
			struct nfs_export *export, struct err *err)
{
	struct nfs_share share = {.path = old->path,
				  .vfs = old->vfs,
				  .rule_count = old->rule_count,
				  .versions = old->versions};
	struct nfs_rule *rules = heap_zalloc_array(old->rule_count + 1, sizeof(*rules));
	int result;

	if (!rules)
		return err_set(err, -ENOMEM, "no memory for exports");
	for (unsigned i = 0; i < old->rule_count; i++)
		rules[i] = old->rules[i].rule;
	share.rules = rules;
	result = fill_export(&share, names, export, err);
	heap_free(rules);
	return result;
}

int nfs_table_renew(const struct nfs_table *old, uint64_t generation, const struct nfs_names *names,
		    struct nfs_table **ret_table, struct err *err)
{
	struct nfs_table *table =
	    heap_zalloc(sizeof(*table) + old->count * sizeof(table->exports[0]));
	int result = 0;

	if (!table)
		return err_set(err, -ENOMEM, "no memory for exports");
	table->refs = 1;
	table->generation = generation;
	table->away = old->away;
	for (unsigned i = 0; result == 0 && i < old->away_count; i++)
		result = add_away(table, old->away_ids[i], err);
	for (unsigned i = 0; result == 0 && i < old->count; i++)
		result =
		    renew_export(&old->exports[i], names, &table->exports[table->count++], err);
	if (result < 0) {
		nfs_table_unref(table);
		return result;
	}
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

static void table_free(struct nfs_table *table)
{
	for (unsigned i = 0; i < table->count; i++) {
		vfs_unref(table->exports[i].vfs);
		heap_free(table->exports[i].rules);
		nfs_share_stats_unref(table->exports[i].stats);
	}
	nfs_tls_unref(table->tls);
	heap_free(table->away_ids);
	if (table->gone)
		loop_post(table->control, &table->message, tell_gone);
	else
		heap_free(table);
}

void nfs_table_unref(struct nfs_table *table)
{
	while (table && __atomic_fetch_sub(&table->refs, 1, __ATOMIC_ACQ_REL) == 1) {
		struct nfs_table *next = table->next;

		table_free(table);
		table = next;
	}
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
