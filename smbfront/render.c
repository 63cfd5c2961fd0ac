/* SPDX-License-Identifier: Apache-2.0 */
/* render.c: what smbd reads. Pure: texts from the daemon's answer. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "smbfront/smbfront.h"

/* Of what the daemon's names are made; nothing that smb.conf(5) or passwd(5) reads as more. */
static bool is_name(const char *text)
{
	if (!text || !*text || *text == '.' || *text == '-')
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("._-", *text))
			return false;
	return true;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return is_name(text) ? text : NULL;
}

void smb_mount_path(const struct smb_options *options, const json_t *share, char path[SMB_PATH_MAX])
{
	const char *pool = text_of(share, "pool"), *name = text_of(share, "name");
	int length = -1;

	if (pool && name)
		length = snprintf(path, SMB_PATH_MAX, "%s/mnt/%s/%s", options->run_dir, pool, name);
	if (length < 0 || (unsigned)length >= SMB_PATH_MAX)
		path[0] = '\0';
}

/* ---- smb.conf(5) ---- */
static void put_global(FILE *out, const struct smb_options *options)
{
	const char *run = options->run_dir, *state = options->state_dir;

	fprintf(out,
		"# Written by granary-smb; what is changed here is lost.\n"
		"[global]\n"
		"server role = standalone server\n"
		"server string = Granary\n"
		"server min protocol = SMB2_10\n"
		"smb ports = %u\n"
		"disable netbios = yes\n",
		options->port);
	if (options->bind)
		fprintf(out, "interfaces = %s\nbind interfaces only = yes\n", options->bind);
	fprintf(out,
		"passdb backend = smbpasswd:%s/private/smbpasswd\n"
		"private dir = %s/smb\n"
		"state directory = %s/smb\n"
		"cache directory = %s/private/cache\n"
		"lock directory = %s/private/lock\n"
		"pid directory = %s/private/pid\n"
		"ncalrpc dir = %s/private/ncalrpc\n"
		"log file = %s/private/log\n"
		"max log size = 1000\n"
		"usershare path =\n"
		"load printers = no\n"
		"printing = bsd\n"
		"printcap name = /dev/null\n"
		"disable spoolss = yes\n"
		"map to guest = Bad User\n"
		"guest account = " SMB_GUEST "\n"
		"restrict anonymous = 0\n"
		"unix extensions = no\n"
		"kernel oplocks = no\n"
		"map archive = no\n"
		"store dos attributes = yes\n"
		"create mask = 0664\n"
		"directory mask = 0775\n",
		run, state, state, run, run, run, run, run);
}

static bool is_guest(const json_t *share)
{
	return json_is_true(json_object_get(share, "guest"));
}

/* Names that smb.conf(5) reads as more than a share's. */
static bool is_section(const char *name)
{
	static const char *const sections[] = {"global", "globals", "homes", "printers"};

	for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++)
		if (strcasecmp(name, sections[i]) == 0)
			return true;
	return false;
}

static unsigned count_names(const json_t *users)
{
	unsigned count = 0;
	const json_t *user;
	size_t index;

	json_array_foreach((json_t *)users, index, user)
	{
		count += is_name(json_string_value(user));
	}
	return count;
}

/* Without "valid users" Samba lets everybody in who has a password: so there is always one. */
static void put_share(FILE *out, const struct smb_options *options, const json_t *share)
{
	const json_t *users = json_object_get(share, "users"), *user;
	char path[SMB_PATH_MAX];
	size_t index;

	smb_mount_path(options, share, path);
	if (!*path || is_section(text_of(share, "name")) ||
	    (!is_guest(share) && count_names(users) == 0))
		return;
	fprintf(out, "\n[%s]\npath = %s\nread only = %s\nguest ok = %s\n", text_of(share, "name"),
		path, json_is_true(json_object_get(share, "read_only")) ? "yes" : "no",
		is_guest(share) ? "yes" : "no");
	if (is_guest(share))
		return; /* everybody means everybody */
	fprintf(out, "valid users =");
	json_array_foreach((json_t *)users, index, user)
	{
		if (is_name(json_string_value(user)))
			fprintf(out, " %s", json_string_value(user));
	}
	fprintf(out, "\n");
}

char *smb_render_configuration(const struct smb_options *options, const json_t *served)
{
	char *text = NULL;
	size_t length, index;
	FILE *out = open_memstream(&text, &length);
	const json_t *share;

	if (!out)
		return NULL;
	put_global(out, options);
	json_array_foreach(json_object_get(served, "shares"), index, share)
	{
		put_share(out, options, share);
	}
	return fclose(out) == 0 ? text : NULL;
}

/* ---- users ---- */
/* One line for each user that is whole. */
static char *each_user(const json_t *served, const char *head,
		       void (*line)(FILE *out, const json_t *user, const char *name,
				    unsigned long uid, unsigned long gid))
{
	char *text = NULL;
	size_t length, index;
	FILE *out = open_memstream(&text, &length);
	const json_t *user;

	if (!out)
		return NULL;
	fputs(head, out);
	json_array_foreach(json_object_get(served, "users"), index, user)
	{
		const char *name = text_of(user, "name");
		json_int_t uid = json_integer_value(json_object_get(user, "uid"));
		json_int_t gid = json_integer_value(json_object_get(user, "gid"));

		if (name && uid > 0 && gid > 0)
			line(out, user, name, (unsigned long)uid, (unsigned long)gid);
	}
	return fclose(out) == 0 ? text : NULL;
}

static void password_line(FILE *out, const json_t *user, const char *name, unsigned long uid,
			  unsigned long gid)
{
	const char *hash = json_string_value(json_object_get(user, "hash"));

	(void)gid;
	if (!hash || strlen(hash) != 32 || strspn(hash, "0123456789ABCDEF") != 32)
		return; /* no password that is right */
	fprintf(out, "%s:%lu:XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX:%s:[UX         ]:LCT-5F000000:\n",
		name, uid, hash);
}

static void user_line(FILE *out, const json_t *user, const char *name, unsigned long uid,
		      unsigned long gid)
{
	(void)user;
	fprintf(out, "%s:x:%lu:%lu::/:/bin/false\n", name, uid, gid);
}

static void group_line(FILE *out, const json_t *user, const char *name, unsigned long uid,
		       unsigned long gid)
{
	(void)user;
	(void)uid;
	fprintf(out, "%s:x:%lu:\n", name, gid);
}

char *smb_render_passwords(const json_t *served)
{
	return each_user(served, "", password_line);
}

char *smb_render_users(const json_t *served)
{
	return each_user(served,
			 "root:x:0:0::/:/bin/false\n" SMB_GUEST ":x:65534:65534::/:/bin/false\n",
			 user_line);
}

char *smb_render_groups(const json_t *served)
{
	return each_user(served, "root:x:0:\n" SMB_GUEST_GROUP ":x:65534:\n", group_line);
}
