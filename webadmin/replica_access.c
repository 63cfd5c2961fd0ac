/* SPDX-License-Identifier: Apache-2.0 */
#include "webadmin/replica_access.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "target/target.h"
#include "webadmin/admin.h"
#include "webadmin/host.h"
#include "webadmin/secret.h"

#define KIND       "replica"
#define STATE_MAX  (1u << 20) /* bytes of the reservations of one volume */
#define PRESENT(t) ((t) && *(t))

/* ---- hex ---- */
static json_t *hex(const uint8_t *data, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	char *text = heap_alloc(2 * length + 1);
	json_t *json;

	if (!text)
		return NULL;
	for (size_t i = 0; i < length; i++) {
		text[2 * i] = digits[data[i] >> 4];
		text[2 * i + 1] = digits[data[i] & 15];
	}
	json = json_stringn(text, 2 * length);
	heap_free(text);
	return json;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Exactly @length bytes. */
static bool unhex(const char *text, uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		data[i] = (uint8_t)(high << 4 | low);
	}
	return text[2 * length] == '\0';
}

/* ---- what there is here ---- */
/* A secret that can not be opened here is not told: nobody knows it. */
static void add_secret(json_t *rule, const char *key, const char *user, const uint8_t *secret,
		       unsigned length, const struct model_sealed *unopened)
{
	json_t *text = NULL;

	if (user[0] && unopened->length == 0)
		text = json_stringn((const char *)secret, length);
	if (text)
		json_object_set_new(rule, key, text);
}

static json_t *describe_rule(const struct model_rule *model)
{
	const struct iscsi_rule *rule = &model->rule;
	json_t *json =
	    json_pack("{s:s,s:s,s:s,s:s}", "initiator", rule->initiator, "network", rule->network,
		      "chap_user", rule->chap_user, "mutual_user", rule->mutual_user);

	add_secret(json, "chap_secret", rule->chap_user, rule->chap_secret,
		   rule->chap_secret_length, &model->chap);
	add_secret(json, "mutual_secret", rule->mutual_user, rule->mutual_secret,
		   rule->mutual_secret_length, &model->mutual);
	return json;
}

static bool shows(const struct model_target *target, const uint8_t (*uuids)[16], unsigned count)
{
	list_for_each (it, &target->luns) {
		if (replica_lists(uuids, count, list_entry(it, struct model_lun, link)->volume))
			return true;
	}
	return false;
}

static json_t *describe_masks(const struct model_target *target, const uint8_t (*uuids)[16],
			      unsigned count)
{
	json_t *masks = json_array();

	list_for_each (it, &target->luns) {
		const struct model_lun *lun = list_entry(it, struct model_lun, link);
		json_t *hosts;

		if (lun->host_count == 0 || !replica_lists(uuids, count, lun->volume))
			continue;
		hosts = json_array();
		for (unsigned i = 0; i < lun->host_count; i++)
			json_array_append_new(hosts, json_string(lun->hosts[i]));
		json_array_append_new(
		    masks, json_pack("{s:o,s:o}", "volume", hex(lun->volume, 16), "hosts", hosts));
	}
	return masks;
}

static json_t *describe_target(const struct model_target *target, const uint8_t (*uuids)[16],
			       unsigned count)
{
	json_t *rules = json_array();

	for (unsigned i = 0; i < target->rule_count; i++)
		json_array_append_new(rules, describe_rule(&target->rules[i]));
	return json_pack("{s:s,s:o,s:o}", "iqn", target->iqn, "rules", rules, "masks",
			 describe_masks(target, uuids, count));
}

static bool names(const json_t *list, const char *name)
{
	json_t *item;
	size_t index;

	json_array_foreach((json_t *)list, index, item)
	{
		const char *other = json_string_value(item);

		if (other && strcmp(other, name) == 0)
			return true;
	}
	return false;
}

/* Does a mask of @targets name @host? */
static bool is_named(const json_t *targets, const char *host)
{
	json_t *target, *mask;
	size_t i, j;

	json_array_foreach((json_t *)targets, i, target)
	{
		json_array_foreach(json_object_get(target, "masks"), j, mask)
		{
			if (names(json_object_get(mask, "hosts"), host))
				return true;
		}
	}
	return false;
}

static json_t *describe_hosts(const struct model *model, const json_t *targets)
{
	json_t *hosts = json_array();

	list_for_each (it, &model->hosts) {
		const struct model_host *host = list_entry(it, struct model_host, link);
		json_t *initiators;

		if (!is_named(targets, host->name))
			continue;
		initiators = json_array();
		for (unsigned i = 0; i < host->initiators.count; i++)
			json_array_append_new(initiators, json_string(host->initiators.names[i]));
		json_array_append_new(
		    hosts, json_pack("{s:s,s:o}", "name", host->name, "initiators", initiators));
	}
	return hosts;
}

static int describe_reservations(const uint8_t uuid[16], json_t *list)
{
	uint8_t *data = NULL;
	size_t length = 0;
	json_t *volume, *state;
	int result = scsi_reservations_export(uuid, &data, &length);

	if (result < 0)
		return result;
	volume = hex(uuid, 16);
	state = hex(data, length);
	heap_free(data);
	if (!volume || !state) {
		json_decref(volume);
		json_decref(state);
		return -ENOMEM;
	}
	return json_array_append_new(list,
				     json_pack("{s:o,s:o}", "volume", volume, "state", state)) < 0
		   ? -ENOMEM
		   : 0;
}

int access_describe(void *context, const uint8_t (*uuids)[16], unsigned count, json_t **ret_access)
{
	struct webadmin *admin = context;
	json_t *targets = json_array(), *reservations = json_array();
	int result = 0;

	list_for_each (it, &admin->model.targets) {
		const struct model_target *target = list_entry(it, struct model_target, link);

		if (shows(target, uuids, count))
			json_array_append_new(targets, describe_target(target, uuids, count));
	}
	for (unsigned i = 0; i < count && result == 0; i++)
		result = describe_reservations(uuids[i], reservations);
	*ret_access = json_pack("{s:o,s:o,s:o}", "hosts", describe_hosts(&admin->model, targets),
				"targets", targets, "reservations", reservations);
	if (result == 0)
		return *ret_access ? 0 : -ENOMEM;
	json_decref(*ret_access);
	*ret_access = NULL;
	return result;
}

/* ---- what another node says ---- */
static bool copy_text(char *to, size_t size, const char *from)
{
	if (strlen(from) >= size)
		return false;
	memcpy(to, from, strlen(from) + 1);
	return true;
}

static bool copy_secret(uint8_t to[256], unsigned *ret_length, const char *from)
{
	*ret_length = (unsigned)strlen(from);
	if (strlen(from) > SECRET_MAX)
		return false;
	memcpy(to, from, *ret_length);
	return true;
}

/* One whose secret is not known there is left out of what is made. */
static bool is_known(const json_t *rule)
{
	const char *user = json_string_value(json_object_get(rule, "chap_user"));
	const char *mutual = json_string_value(json_object_get(rule, "mutual_user"));

	return (!PRESENT(user) || json_object_get(rule, "chap_secret")) &&
	       (!PRESENT(mutual) || json_object_get(rule, "mutual_secret"));
}

static int check_rule(const json_t *json, struct err *err)
{
	const char *initiator, *network, *user, *secret = "", *mutual_user, *mutual_secret = "";
	struct iscsi_rule rule = {0};
	int result = 0;

	if (json_unpack((json_t *)json, "{s:s,s:s,s:s,s?:s,s:s,s?:s}", "initiator", &initiator,
			"network", &network, "chap_user", &user, "chap_secret", &secret,
			"mutual_user", &mutual_user, "mutual_secret", &mutual_secret) < 0 ||
	    !copy_text(rule.initiator, sizeof rule.initiator, initiator) ||
	    !copy_text(rule.network, sizeof rule.network, network) ||
	    !copy_text(rule.chap_user, sizeof rule.chap_user, user) ||
	    !copy_text(rule.mutual_user, sizeof rule.mutual_user, mutual_user) ||
	    !copy_secret(rule.chap_secret, &rule.chap_secret_length, secret) ||
	    !copy_secret(rule.mutual_secret, &rule.mutual_secret_length, mutual_secret))
		result = err_set(err, -EPROTO, "a rule that can not be");
	else if (is_known(json) && iscsi_rule_check(&rule, err) < 0)
		result = -EPROTO; /* @err says why; no secret is in it */
	explicit_bzero(&rule, sizeof rule);
	return result;
}

static bool all_texts(const json_t *list)
{
	json_t *item;
	size_t index;

	json_array_foreach((json_t *)list, index, item)
	{
		if (!json_is_string(item))
			return false;
	}
	return json_is_array(list);
}

static int check_masks(const json_t *masks, struct err *err)
{
	uint8_t uuid[16];
	json_t *mask;
	size_t index;

	json_array_foreach((json_t *)masks, index, mask)
	{
		const char *volume = json_string_value(json_object_get(mask, "volume"));

		if (!volume || !unhex(volume, uuid, 16) ||
		    !all_texts(json_object_get(mask, "hosts")))
			return err_set(err, -EPROTO, "a mask that can not be");
	}
	return !masks || json_is_array(masks) ? 0 : err_set(err, -EPROTO, "masks that can not be");
}

static int check_hosts(const json_t *hosts, struct err *err)
{
	json_t *host;
	size_t index;

	json_array_foreach((json_t *)hosts, index, host)
	{
		if (!json_is_string(json_object_get(host, "name")) ||
		    !all_texts(json_object_get(host, "initiators")))
			return err_set(err, -EPROTO, "a host group that can not be");
	}
	return !hosts || json_is_array(hosts)
		   ? 0
		   : err_set(err, -EPROTO, "host groups that can not be");
}

static int check_target(const json_t *target, struct err *err)
{
	const char *iqn = json_string_value(json_object_get(target, "iqn"));
	json_t *rules = json_object_get(target, "rules"), *rule;
	size_t index;

	if (!iqn || strlen(iqn) > SCSI_NAME_MAX || !json_is_array(rules))
		return err_set(err, -EPROTO, "a target that can not be");
	if (check_masks(json_object_get(target, "masks"), err) < 0)
		return -EPROTO;
	json_array_foreach(rules, index, rule)
	{
		if (check_rule(rule, err) < 0)
			return -EPROTO;
	}
	return 0;
}

/* The volume and the bytes (heap) of one entry. */
static int read_reservations(const json_t *json, uint8_t uuid[16], uint8_t **ret_data,
			     size_t *ret_length, struct err *err)
{
	const char *volume = json_string_value(json_object_get(json, "volume"));
	const char *state = json_string_value(json_object_get(json, "state"));
	size_t length = state ? strlen(state) / 2 : 0;
	uint8_t *data;

	if (!volume || !unhex(volume, uuid, 16) || length == 0 || length > STATE_MAX)
		return err_set(err, -EPROTO, "reservations of no volume");
	data = heap_alloc(length);
	if (!data)
		return err_set(err, -ENOMEM, "out of memory");
	if (!unhex(state, data, length) || scsi_reservations_check(data, length) < 0) {
		heap_free(data);
		return err_set(err, -EPROTO, "reservations that can not be");
	}
	*ret_data = data;
	*ret_length = length;
	return 0;
}

int access_check(void *context, const json_t *access, struct err *err)
{
	json_t *targets = json_object_get(access, "targets");
	json_t *reservations = json_object_get(access, "reservations"), *item;
	size_t index;

	(void)context;
	if (!json_is_array(targets) || !json_is_array(reservations))
		return err_set(err, -EPROTO, "who is let in, as it was told, makes no sense");
	if (check_hosts(json_object_get(access, "hosts"), err) < 0)
		return err_wrap(err, "who is let in, as it was told"), -EPROTO;
	json_array_foreach(targets, index, item)
	{
		if (check_target(item, err) < 0)
			return err_wrap(err, "who is let in, as it was told"), -EPROTO;
	}
	json_array_foreach(reservations, index, item)
	{
		uint8_t uuid[16], *data = NULL;
		size_t length;
		int result = read_reservations(item, uuid, &data, &length, err);

		heap_free(data);
		if (result < 0)
			return err_wrap(err, "what is reserved, as it was told"), result;
	}
	return 0;
}

/* ---- kept ---- */
int access_seal(void *context, const char *owner, const uint8_t *data, size_t length,
		uint8_t **ret_sealed, size_t *ret_length)
{
	(void)context;
	return secret_seal_bytes(data, length, owner, KIND, ret_sealed, ret_length);
}

int access_unseal(void *context, const char *owner, const uint8_t *sealed, size_t length,
		  uint8_t **ret_data, size_t *ret_length)
{
	(void)context;
	return secret_unseal_bytes(sealed, length, owner, KIND, ret_data, ret_length);
}

/* ---- in force ---- */
struct reserving {
	unsigned left;
	int result;
	void (*done)(void *waiting, int result);
	void *waiting;
};

static void one_reserved(void *context, int result)
{
	struct reserving *reserving = context;

	if (result < 0)
		reserving->result = result;
	if (--reserving->left > 0)
		return;
	reserving->done(reserving->waiting, reserving->result);
	heap_free(reserving);
}

void access_reserve(void *context, const json_t *access, const uint8_t (*uuids)[16], unsigned count,
		    void (*done)(void *waiting, int result), void *waiting)
{
	struct reserving *reserving = heap_zalloc(sizeof *reserving);
	json_t *item;
	size_t index;

	(void)context;
	if (!reserving) {
		done(waiting, -ENOMEM);
		return;
	}
	*reserving = (struct reserving){.left = 1, .done = done, .waiting = waiting};
	json_array_foreach(json_object_get(access, "reservations"), index, item)
	{
		uint8_t uuid[16], *data = NULL;
		struct err err = {0};
		size_t length;
		int result = read_reservations(item, uuid, &data, &length, &err);

		reserving->left++;
		if (result < 0)
			one_reserved(reserving, result);
		else if (!replica_lists(uuids, count, uuid)) /* it has left the group */
			one_reserved(reserving, 0);
		else
			scsi_reservations_import(uuid, data, length, one_reserved, reserving);
		heap_free(data);
	}
	one_reserved(reserving, 0);
}

/* ---- rules ---- */
static const json_t *told_of(const json_t *access, const char *iqn, const char *member)
{
	json_t *target;
	size_t index;

	json_array_foreach(json_object_get(access, "targets"), index, target)
	{
		const char *other = json_string_value(json_object_get(target, "iqn"));

		if (other && strcmp(other, iqn) == 0)
			return json_object_get(target, member);
	}
	return NULL;
}

/* Is all that @target shows here of the group? What else it shows has rules of this node's own. */
static bool shows_only(const struct model_target *target, const json_t *luns)
{
	list_for_each (it, &target->luns) {
		const struct model_lun *lun = list_entry(it, struct model_lun, link);
		bool found = false;
		json_t *item;
		size_t index;

		json_array_foreach((json_t *)luns, index, item)
		{
			const char *text = json_string_value(json_object_get(item, "volume"));
			uint8_t uuid[16];

			found |=
			    text && unhex(text, uuid, 16) && memcmp(uuid, lun->volume, 16) == 0;
		}
		if (!found)
			return false;
	}
	return true;
}

static bool is_for(const json_t *rule, const struct iscsi_rule *here)
{
	const char *initiator = json_string_value(json_object_get(rule, "initiator"));
	const char *network = json_string_value(json_object_get(rule, "network"));

	return initiator && network && strcmp(initiator, here->initiator) == 0 &&
	       strcmp(network, here->network) == 0;
}

/* Those behind the first one that is for others than it is there: the first that matches decides,
 * so the order counts. */
static void remove_others(struct webadmin *admin, const struct model_target *target,
			  const json_t *rules, const char *path)
{
	unsigned same = 0;

	while (same < target->rule_count &&
	       is_for(json_array_get(rules, same), &target->rules[same].rule))
		same++;
	for (unsigned i = target->rule_count; i-- > same;) {
		const struct iscsi_rule *rule = &target->rules[i].rule;

		replica_call(
		    admin, "DELETE", path,
		    json_pack("{s:s,s:s}", "initiator", rule->initiator, "network", rule->network));
	}
}

bool access_apply_rules(struct webadmin *admin, const json_t *access, const char *iqn,
			const json_t *luns)
{
	const struct model_target *target = model_target_find(&admin->model, iqn);
	const json_t *rules = told_of(access, iqn, "rules");
	char path[SCSI_NAME_MAX + 64];
	json_t *rule;
	size_t index;

	if (!rules)
		return false;
	snprintf(path, sizeof path, "/api/v1/targets/%s/rules", iqn);
	if (target && shows_only(target, luns))
		remove_others(admin, target, rules, path);
	json_array_foreach((json_t *)rules, index, rule)
	{
		if (is_known(rule))
			replica_call(admin, "POST", path, json_incref(rule));
		else
			log_warning("target %s: a rule with a secret that the other node could "
				    "not open: set it again",
				    iqn);
	}
	return true;
}

/* ---- masks ---- */
static void apply_host(struct webadmin *admin, const json_t *told)
{
	const char *name = json_string_value(json_object_get(told, "name"));
	json_t *initiators = json_object_get(told, "initiators"), *missing, *item;
	const struct model_host *host = model_host_find(&admin->model, name);
	char path[HOST_GROUP_NAME_MAX + 32];
	size_t index;

	if (!host) {
		replica_call(admin, "POST", "/api/v1/hosts",
			     json_pack("{s:s,s:O}", "name", name, "initiators", initiators));
		return;
	}
	missing = json_array();
	json_array_foreach(initiators, index, item)
	{
		if (model_host_of(&admin->model, json_string_value(item)) != host)
			json_array_append(missing, item);
	}
	snprintf(path, sizeof path, "/api/v1/hosts/%s", host->name);
	if (json_array_size(missing))
		replica_call(admin, "PATCH", path, json_pack("{s:O}", "add", missing));
	json_decref(missing);
}

void access_apply_hosts(struct webadmin *admin, const json_t *access)
{
	json_t *host;
	size_t index;

	json_array_foreach(json_object_get(access, "hosts"), index, host) apply_host(admin, host);
}

json_t *access_mask(const json_t *access, const char *iqn, const char *uuid)
{
	const json_t *masks = told_of(access, iqn, "masks");
	json_t *mask;
	size_t index;

	if (!masks)
		return NULL;
	json_array_foreach((json_t *)masks, index, mask)
	{
		if (strcmp(json_string_value(json_object_get(mask, "volume")), uuid) == 0)
			return json_incref(json_object_get(mask, "hosts"));
	}
	return json_array();
}
