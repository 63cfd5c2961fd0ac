/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "appliance/seed.h"
#include "core/heap.h"
#include "core/yaml.h"

const char *const seed_names[SEED_FILES] = {
    [SEED_META] = "meta-data",
    [SEED_USER] = "user-data",
    [SEED_NETWORK] = "network-config",
    [SEED_OVF] = "ovf-env.xml",
};

void seed_texts_free(struct seed_texts *texts)
{
	for (unsigned i = 0; i < SEED_FILES; i++)
		heap_free(texts->text[i]);
	*texts = (struct seed_texts){.text = {NULL}};
}

/* --- members that more than one source has --------------------------------------------------- */

static json_t *settings_of(json_t *seed)
{
	return json_object_get(seed, "settings");
}

static void pass_over(json_t *seed, const char *name)
{
	json_array_append_new(json_object_get(seed, "passed_over"), json_string(name));
}

/* A host's name is the first label of what is given. */
static int take_host_name(json_t *seed, const json_t *value, struct err *err)
{
	char room[32];
	const char *text = seed_text(value, room);

	if (!value)
		return 0;
	if (!text || !*text)
		return err_set(err, -EINVAL, "a host's name is a text");
	return json_object_set_new(settings_of(seed), "name",
				   json_stringn(text, strcspn(text, ".")));
}

bool seed_code_good(const char *code)
{
	for (unsigned i = 0; i < SEED_CODE_TEXT - 1; i++) {
		unsigned char c = (unsigned char)code[i];

		if (i % 5 == 4 ? c != '-' : !isdigit(c) && !isupper(c))
			return false;
	}
	return code[SEED_CODE_TEXT - 1] == '\0';
}

/* The code itself is said in no message. */
static int take_code(json_t *seed, const json_t *value, struct err *err)
{
	const char *code = json_string_value(value);

	if (!value)
		return 0;
	if (!code || strlen(code) != SEED_CODE_TEXT - 1 || !seed_code_good(code))
		return err_set(err, -EINVAL,
			       "setup_code: three groups of four digits and capitals, "
			       "XXXX-XXXX-XXXX");
	return json_object_set_new(seed, "setup_code", json_string(code));
}

/* --- user-data ------------------------------------------------------------------------------- */

static int take_pool(json_t *seed, const json_t *pool, struct err *err)
{
	const char *name = json_string_value(json_object_get(pool, "name"));
	const json_t *devices = json_object_get(pool, "devices");
	json_t *taken = json_array(), *device;
	size_t index;

	json_array_foreach((json_t *)devices, index, device)
	{
		const char *path = json_string_value(device);

		if (path && strncmp(path, "/dev/", 5) == 0 && !strstr(path, "/../"))
			json_array_append(taken, device);
	}
	if (!name || json_array_size(taken) == 0 || json_array_size(taken) > 64 ||
	    json_array_size(taken) != json_array_size(devices)) {
		json_decref(taken);
		return err_set(err, -EINVAL,
			       "pools: each has a name and devices, a list of /dev/...");
	}
	return json_array_append_new(json_object_get(seed, "pools"),
				     json_pack("{s:s,s:o}", "name", name, "devices", taken));
}

static int take_ours(json_t *seed, const json_t *ours, struct err *err)
{
	const char *name;
	json_t *value, *pool;
	size_t index;

	json_object_foreach((json_t *)ours, name, value)
	{
		if (strcmp(name, "setup_code") != 0 && strcmp(name, "pools") != 0)
			return err_set(err, -EINVAL, "granary: there is no member %.60s", name);
	}
	if (take_code(seed, json_object_get(ours, "setup_code"), err) < 0)
		return -EINVAL;
	if (json_array_size(json_object_get(ours, "pools")) > SEED_POOLS)
		return err_set(err, -EINVAL, "pools: at most %d", SEED_POOLS);
	json_array_foreach(json_object_get(ours, "pools"), index, pool)
	{
		if (take_pool(seed, pool, err) < 0)
			return -EINVAL;
	}
	return 0;
}

static int take_zone(json_t *seed, const json_t *value, struct err *err)
{
	if (!value)
		return 0;
	if (!json_is_string(value))
		return err_set(err, -EINVAL, "timezone: a text");
	return json_object_set(settings_of(seed), "timezone", (json_t *)value);
}

static int take_time(json_t *seed, const json_t *ntp, struct err *err)
{
	static const char *const lists[] = {"servers", "pools"};
	json_t *all = json_array();

	for (unsigned i = 0; i < 2; i++) {
		const json_t *list = json_object_get(ntp, lists[i]);

		if (list && !json_is_array(list)) {
			json_decref(all);
			return err_set(err, -EINVAL, "ntp: %s: a list", lists[i]);
		}
		if (list)
			json_array_extend(all, (json_t *)list);
	}
	if (json_array_size(all) == 0) {
		json_decref(all);
		return 0;
	}
	return json_object_set_new(settings_of(seed), "time_servers", all);
}

int seed_user(const json_t *config, json_t *seed, struct err *err)
{
	static const char *const taken[] = {"hostname", "timezone", "ntp", "granary"};
	int result = take_host_name(seed, json_object_get(config, "hostname"), err);
	const char *name;
	json_t *value;

	if (result == 0)
		result = take_zone(seed, json_object_get(config, "timezone"), err);
	if (result == 0)
		result = take_time(seed, json_object_get(config, "ntp"), err);
	if (result == 0)
		result = take_ours(seed, json_object_get(config, "granary"), err);
	json_object_foreach((json_t *)config, name, value)
	{
		bool known = false;

		for (unsigned i = 0; i < sizeof taken / sizeof *taken; i++)
			known |= strcmp(name, taken[i]) == 0;
		if (!known)
			pass_over(seed, name);
	}
	return result;
}

/* --- files ----------------------------------------------------------------------------------- */

static json_t *parse_file(const struct seed_texts *texts, enum seed_file which, struct err *err)
{
	static const struct yaml_rules rules = {.depth_max = 16, .values_max = 4096};
	json_t *value = yaml_read(texts->text[which], texts->length[which], &rules, NULL, err);

	if (value && !json_is_object(value)) {
		json_decref(value);
		err_set(err, -EINVAL, "this is no mapping");
		return NULL;
	}
	return value;
}

static int parse_meta(const struct seed_texts *texts, json_t *seed, struct err *err)
{
	json_t *meta = parse_file(texts, SEED_META, err);
	const json_t *name = json_object_get(meta, "local-hostname");
	char room[32];
	const char *instance = seed_text(json_object_get(meta, "instance-id"), room);
	int result = meta ? 0 : -EINVAL;

	if (result == 0 && instance)
		json_object_set_new(seed, "instance", json_string(instance));
	if (result == 0)
		result = take_host_name(seed, name ? name : json_object_get(meta, "hostname"), err);
	json_decref(meta);
	return result;
}

/* Scripts and archives of many parts are for systems that run programs. */
static int parse_user(const struct seed_texts *texts, json_t *seed, struct err *err)
{
	static const char mark[] = "#cloud-config";
	const char *text = texts->text[SEED_USER];
	json_t *config;
	int result;

	if (strncmp(text, mark, sizeof mark - 1) != 0) {
		if (texts->length[SEED_USER])
			pass_over(seed, "user-data that is no #cloud-config");
		return 0;
	}
	config = parse_file(texts, SEED_USER, err);
	result = config ? seed_user(config, seed, err) : -EINVAL;
	json_decref(config);
	return result;
}

static int parse_network(const struct seed_texts *texts, json_t *seed, struct err *err)
{
	json_t *config = parse_file(texts, SEED_NETWORK, err);
	int result = config ? seed_network(config, settings_of(seed), err) : -EINVAL;

	json_decref(config);
	return result;
}

static int parse_ovf(const struct seed_texts *texts, json_t *seed, struct err *err)
{
	json_t *properties = seed_ovf(texts->text[SEED_OVF], texts->length[SEED_OVF], err);
	int result = properties ? seed_properties(properties, seed, err) : -EINVAL;

	json_decref(properties);
	return result;
}

json_t *seed_parse(const struct seed_texts *texts, struct err *err)
{
	static int (*const parse[SEED_FILES])(const struct seed_texts *texts, json_t *seed,
					      struct err *err) = {
	    [SEED_META] = parse_meta,
	    [SEED_USER] = parse_user,
	    [SEED_NETWORK] = parse_network,
	    [SEED_OVF] = parse_ovf,
	};
	json_t *seed =
	    json_pack("{s:s,s:{},s:[],s:[]}", "instance", "", "settings", "pools", "passed_over");
	struct err mine = {0};

	for (unsigned i = 0; seed && i < SEED_FILES; i++) {
		if (!texts->text[i] || parse[i](texts, seed, &mine) == 0)
			continue;
		err_set(err, mine.code ? mine.code : -EINVAL, "%s: %s", seed_names[i],
			mine.code ? mine.text : "out of memory");
		json_decref(seed);
		return NULL;
	}
	if (!seed)
		err_set(err, -ENOMEM, "out of memory");
	return seed;
}

/* --- properties of an OVF package ------------------------------------------------------------ */

static void add_words(json_t *list, const char *text)
{
	while (*text) {
		size_t length = strcspn(text, " ,;");

		if (length)
			json_array_append_new(list, json_stringn(text, length));
		text += length + (text[length] != '\0');
	}
}

static json_t *words_of(const char *text)
{
	json_t *list = json_array();

	add_words(list, text);
	return list;
}

static const char *property(const json_t *properties, const char *key)
{
	const char *text = json_string_value(json_object_get(properties, key));

	return text && *text ? text : NULL;
}

/* One link, the first port; without an address it asks DHCP. */
static void take_address(const json_t *properties, json_t *settings)
{
	const char *address = property(properties, "address");
	const char *gateway = property(properties, "gateway"), *dns = property(properties, "dns");
	bool six = address && strchr(address, ':');

	if (dns)
		json_object_set_new(settings, "dns", words_of(dns));
	if (!address || strcasecmp(address, "dhcp") == 0)
		return;
	json_object_set_new(settings, "links",
			    json_pack("[{s:s,s:s,s:s,s:s,s:o,s:o}]", "id", "*", "name", "*", "ipv4",
				      six ? "off" : "static", "ipv6", six ? "static" : "auto",
				      "addresses", words_of(address), "gateways",
				      words_of(gateway ? gateway : "")));
}

/* As other images have it: a whole user-data, as base64. */
static int take_user_data(const char *text, json_t *seed, struct err *err)
{
	struct seed_texts texts = {.text = {NULL}};
	size_t length = strlen(text);
	int result = -EINVAL, decoded;

	texts.text[SEED_USER] = length % 4 == 0 ? heap_zalloc(length + 1) : NULL;
	if (!texts.text[SEED_USER])
		return err_set(err, -EINVAL, "user-data: this is no base64");
	decoded = EVP_DecodeBlock((unsigned char *)texts.text[SEED_USER],
				  (const unsigned char *)text, (int)length);
	while (decoded > 0 && length && text[length - 1] == '=') {
		decoded--;
		length--;
	}
	if (decoded < 0) {
		err_set(err, -EINVAL, "user-data: this is no base64");
	} else {
		texts.text[SEED_USER][decoded] = '\0';
		texts.length[SEED_USER] = (size_t)decoded;
		result = parse_user(&texts, seed, err);
	}
	seed_texts_free(&texts);
	return result;
}

int seed_properties(const json_t *properties, json_t *seed, struct err *err)
{
	json_t *settings = settings_of(seed);
	const char *text;
	int result = 0;

	if ((text = property(properties, "user-data")))
		result = take_user_data(text, seed, err);
	if (result == 0 && (text = property(properties, "instance-id")))
		json_object_set_new(seed, "instance", json_string(text));
	if (result == 0 && property(properties, "hostname"))
		result = take_host_name(seed, json_object_get(properties, "hostname"), err);
	if (result == 0 && property(properties, "timezone"))
		result = take_zone(seed, json_object_get(properties, "timezone"), err);
	if (result == 0 && property(properties, "setup-code"))
		result = take_code(seed, json_object_get(properties, "setup-code"), err);
	if (result == 0 && (text = property(properties, "ntp")))
		json_object_set_new(settings, "time_servers", words_of(text));
	if (result == 0)
		take_address(properties, settings);
	return result;
}
