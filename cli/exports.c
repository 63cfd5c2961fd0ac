/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/exports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX   1024u
#define OPTION_MAX 128u
#define ANONYMOUS  65534u

/* One file on its way: a word at a time, as exports(5) has them. */
struct reader {
	const char *at;
	unsigned line;
	struct err *err;
	char word[WORD_MAX];
};

struct options {
	bool writable, insecure;
	const char *squash;   /* root, all, none */
	const char *security; /* tls, mtls; NULL: any */
	uint32_t uid, gid;
};
static const struct options standard = {.squash = "root", .uid = ANONYMOUS, .gid = ANONYMOUS};

static int wrong(struct reader *reader, const char *what, const char *text)
{
	return err_set(reader->err, -EINVAL, "line %u: %s%s%.200s%s", reader->line, what,
		       text ? " \"" : "", text ? text : "", text ? "\"" : "");
}

/* ---- words ---- */
/* Blanks, comments, and lines that go on; the end of a line is not among them. */
static void skip_blanks(struct reader *reader)
{
	for (;;) {
		if (*reader->at == '\\' && reader->at[1] == '\n') {
			reader->at += 2;
			reader->line++;
		} else if (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\r') {
			reader->at++;
		} else if (*reader->at == '#') {
			while (*reader->at && *reader->at != '\n')
				reader->at++;
		} else {
			return;
		}
	}
}

static bool is_octal(const char *at)
{
	return at[0] >= '0' && at[0] <= '3' && at[1] >= '0' && at[1] <= '7' && at[2] >= '0' &&
	       at[2] <= '7';
}

/* The next word of this line into reader->word: 1; 0: the line ends here. */
static int next_word(struct reader *reader)
{
	bool quoted = false;
	size_t length = 0;

	skip_blanks(reader);
	if (!*reader->at || *reader->at == '\n')
		return 0;
	while (*reader->at && *reader->at != '\n' && (quoted || !strchr(" \t\r#", *reader->at))) {
		char byte = *reader->at++;

		if (byte == '"') {
			quoted = !quoted;
			continue;
		}
		if (byte == '\\' && is_octal(reader->at)) {
			byte = (char)((reader->at[0] - '0') * 64 + (reader->at[1] - '0') * 8 +
				      (reader->at[2] - '0'));
			reader->at += 3;
		} else if (byte == '\\' && *reader->at == '\n') {
			reader->at--;
			break;
		}
		if (length + 1 >= sizeof reader->word)
			return wrong(reader, "a word is too long", NULL);
		reader->word[length++] = byte;
	}
	reader->word[length] = '\0';
	return quoted ? wrong(reader, "a quotation mark is missing", NULL) : 1;
}

/* ---- options ---- */
static void set_read_only(struct options *options)
{
	options->writable = false;
}
static void set_writable(struct options *options)
{
	options->writable = true;
}
static void set_secure(struct options *options)
{
	options->insecure = false;
}
static void set_insecure(struct options *options)
{
	options->insecure = true;
}
static void set_root_squash(struct options *options)
{
	if (strcmp(options->squash, "all") != 0)
		options->squash = "root";
}
static void set_no_root_squash(struct options *options)
{
	if (strcmp(options->squash, "all") != 0)
		options->squash = "none";
}
static void set_all_squash(struct options *options)
{
	options->squash = "all";
}

static void set_no_all_squash(struct options *options)
{
	if (strcmp(options->squash, "all") == 0)
		options->squash = "root";
}

/* Without a function: how it is here anyway, or without a meaning here. */
static const struct {
	const char *name;
	void (*set)(struct options *options);
} table[] = {
    {"ro", set_read_only},
    {"rw", set_writable},
    {"secure", set_secure},
    {"insecure", set_insecure},
    {"root_squash", set_root_squash},
    {"no_root_squash", set_no_root_squash},
    {"all_squash", set_all_squash},
    {"no_all_squash", set_no_all_squash},
    {"sync", NULL},
    {"async", NULL},
    {"wdelay", NULL},
    {"no_wdelay", NULL},
    {"hide", NULL},
    {"nohide", NULL},
    {"crossmnt", NULL},
    {"subtree_check", NULL},
    {"no_subtree_check", NULL},
    {"secure_locks", NULL},
    {"auth_nlm", NULL},
    {"acl", NULL},
    {"no_acl", NULL},
    {"no_pnfs", NULL},
    {"sec=sys", NULL},
    {"", NULL},
};

static int set_id(struct reader *reader, const char *text, const char *option, uint32_t *ret_id)
{
	char *end;
	unsigned long long id;

	errno = 0;
	id = strtoull(text, &end, 10);
	/* as exports(5) has it, -1 and -2 are the last ids there are */
	if (text[0] == '-' && (strcmp(text, "-2") == 0 || strcmp(text, "-1") == 0))
		id &= UINT32_MAX;
	else if (errno || end == text || *end || text[0] == '-' || id > UINT32_MAX)
		return wrong(reader, "no id in", option);
	*ret_id = (uint32_t)id;
	return 0;
}

/* A list of what a connection may be, with colons; the weakest that is let in counts. Without TLS
 * alone is no rule that can be said here: who comes in TLS is let in too. */
static int set_security(struct reader *reader, const char *list, const char *option,
			struct options *options)
{
	static const char *const words[] = {"none", "tls", "mtls"}, *const means[] = {NULL, "tls",
										      "mtls"};
	unsigned weakest = 3;

	while (true) {
		size_t length = strcspn(list, ":");
		unsigned i = 0;

		while (i < 3 && (strlen(words[i]) != length || strncmp(list, words[i], length)))
			i++;
		if (i == 3)
			return wrong(reader, "an option that is not there:", option);
		weakest = i < weakest ? i : weakest;
		if (!list[length])
			break;
		list += length + 1;
	}
	options->security = means[weakest];
	return 0;
}

static int set_option(struct reader *reader, const char *option, struct options *options)
{
	for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
		if (strcmp(table[i].name, option) != 0)
			continue;
		if (table[i].set)
			table[i].set(options);
		return 0;
	}
	if (strncmp(option, "anonuid=", 8) == 0)
		return set_id(reader, option + 8, option, &options->uid);
	if (strncmp(option, "anongid=", 8) == 0)
		return set_id(reader, option + 8, option, &options->gid);
	if (strncmp(option, "xprtsec=", 8) == 0)
		return set_security(reader, option + 8, option, options);
	if (strncmp(option, "fsid=", 5) == 0)
		return 0; /* a share has its own */
	return wrong(reader, "an option that is not there:", option);
}

/* "rw,sync,no_root_squash" */
static int set_options(struct reader *reader, const char *list, struct options *options)
{
	int result = 0;

	while (result == 0) {
		size_t length = strcspn(list, ",");
		char option[OPTION_MAX];

		if (length >= sizeof option)
			return wrong(reader, "an option that is not there:", list);
		memcpy(option, list, length);
		option[length] = '\0';
		result = set_option(reader, option, options);
		if (!list[length])
			break;
		list += length + 1;
	}
	return result;
}

/* ---- clients ---- */
/* 255.255.255.0 as 24; -1: no mask. */
static int bits_of_mask(const char *mask)
{
	struct in_addr address;
	uint32_t value;
	int bits = 0;

	if (inet_pton(AF_INET, mask, &address) != 1)
		return -1;
	value = ntohl(address.s_addr);
	while (bits < 32 && value & 0x80000000u) {
		value <<= 1;
		bits++;
	}
	return value ? -1 : bits;
}

static bool is_address(const char *text, size_t length, int *ret_family)
{
	uint8_t address[16];
	char copy[64];

	if (length >= sizeof copy)
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	*ret_family = strchr(copy, ':') ? AF_INET6 : AF_INET;
	return inet_pton(*ret_family, copy, address) == 1;
}

/* The daemon looks at it more closely. A wildcard, @netgroup or bad address is none. */
static bool is_host(const char *text)
{
	const char *last = strrchr(text, '.');

	last = last ? last + 1 : text;
	return !text[strspn(text,
			    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")] &&
	       last[strspn(last, "0123456789")];
}

/* What a rule says for the client that the file names; NULL: it can not be said. */
static json_t *client_of(struct reader *reader, const char *text)
{
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	int family, bits = -1;
	char *end;

	if (!*text || strcmp(text, "*") == 0)
		return json_string("*");
	if (is_host(text))
		return json_string(text);
	if (!is_address(text, length, &family)) {
		wrong(reader,
		      "no address, network, name of a host or *: wildcards and netgroups are not "
		      "looked up:",
		      text);
		return NULL;
	}
	if (!slash)
		return json_string(text);
	if (strchr(slash, '.')) {
		bits = bits_of_mask(slash + 1);
	} else if (slash[1] >= '0' && slash[1] <= '9') {
		long number = strtol(slash + 1, &end, 10);

		if (!*end && number <= (family == AF_INET6 ? 128 : 32))
			bits = (int)number;
	}
	if (bits < 0) {
		wrong(reader, "no network:", text);
		return NULL;
	}
	return json_sprintf("%.*s/%d", (int)length, text, bits);
}

static bool has_client(const json_t *rules, const json_t *client)
{
	size_t index;
	json_t *rule;

	json_array_foreach((json_t *)rules, index, rule)
	{
		if (json_equal(json_object_get(rule, "client"), client))
			return true;
	}
	return false;
}

/* reader->word is CLIENT(OPTIONS), CLIENT or (OPTIONS). */
static int add_client(struct reader *reader, struct options options, json_t *rules)
{
	char *text = reader->word, *open = strchr(text, '(');
	json_t *client;
	int result = 0;

	if (open) {
		size_t length = strlen(open);

		if (open[length - 1] != ')' || strchr(open + 1, '('))
			return wrong(reader, "a bracket is missing or too many:", text);
		open[length - 1] = '\0';
		*open = '\0';
		result = set_options(reader, open + 1, &options);
	}
	if (result < 0)
		return result;
	client = client_of(reader, text);
	if (!client)
		return -EINVAL;
	if (has_client(rules, client)) {
		wrong(reader, "this path has the client twice:", json_string_value(client));
		json_decref(client);
		return -EINVAL;
	}
	json_array_append_new(
	    rules, json_pack("{s:o,s:b,s:b,s:s,s:s*,s:I,s:I}", "client", client, "read_only",
			     !options.writable, "insecure", options.insecure, "squash",
			     options.squash, "security", options.security, "anon_uid",
			     (json_int_t)options.uid, "anon_gid", (json_int_t)options.gid));
	return 0;
}

/* ---- lines ---- */
/* "/vms" is the share vms; of a longer path it is the last component. */
static json_t *entry_of(struct reader *reader, json_t *entries, char *path)
{
	size_t length = strlen(path), index;
	const char *name;
	json_t *entry;

	while (length > 1 && path[length - 1] == '/')
		path[--length] = '\0';
	name = strrchr(path, '/');
	if (path[0] != '/' || !name[1]) {
		wrong(reader, "no path of a share:", path);
		return NULL;
	}
	json_array_foreach(entries, index, entry)
	{
		const char *before = json_string_value(json_object_get(entry, "path"));

		if (strcmp(json_string_value(json_object_get(entry, "name")), name + 1) != 0)
			continue;
		if (before ? strcmp(before, path) == 0 : name == path)
			return entry;
		wrong(reader, "another path ends in the same name:", path);
		return NULL;
	}
	entry = json_pack("{s:s,s:[]}", "name", name + 1, "rules");
	if (!entry)
		wrong(reader, "no path of a share:", path);
	else if (name != path)
		json_object_set_new(entry, "path", json_string(path));
	json_array_append_new(entries, entry);
	return entry;
}

static int add_clients(struct reader *reader, json_t *rules)
{
	struct options defaults = standard;
	bool any = false, bare = false;
	int result;

	while ((result = next_word(reader)) == 1) {
		if (reader->word[0] == '-') {
			result = set_options(reader, reader->word + 1, &defaults);
		} else if (reader->word[0] == '(' && bare) {
			result = wrong(reader,
				       "a blank before the bracket gives these options to "
				       "everybody, not to the client before it; take it away, or "
				       "write *",
				       reader->word);
		} else {
			bare = !strchr(reader->word, '(');
			any = true;
			result = add_client(reader, defaults, rules);
		}
		if (result < 0)
			return result;
	}
	if (result == 0 && !any)
		return wrong(reader, "nobody may use this path; who may is written behind it",
			     NULL);
	return result;
}

static int add_line(struct reader *reader, json_t *entries)
{
	json_t *entry = entry_of(reader, entries, reader->word);

	return entry ? add_clients(reader, json_object_get(entry, "rules")) : -EINVAL;
}

json_t *exports_parse(const char *text, struct err *err)
{
	struct reader reader = {.at = text, .line = 1, .err = err};
	json_t *entries = json_array();
	int result = 0;

	while (result >= 0 && *reader.at) {
		result = next_word(&reader);
		if (result == 1)
			result = add_line(&reader, entries);
		if (result >= 0 && *reader.at == '\n') {
			reader.at++;
			reader.line++;
		}
	}
	if (result >= 0)
		return entries;
	json_decref(entries);
	return NULL;
}
