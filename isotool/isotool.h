/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISOTOOL_ISOTOOL_H
#define ISOTOOL_ISOTOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/err.h"
#include "mounts/dial.h"

/* granary-iso: the images in a share: added from a file or from the web, listed, removed. It is a
 * program apart because it talks to the web: as nobody, with nothing but the daemon's socket, which
 * lets it into this one share. */

#define ISO_NAME_MAX  200u
#define ISO_SIZE_MAX  (64ull << 30) /* of an image, unless --max-size says more */
#define ISO_HASH      32u
#define ISO_HASH_TEXT (2 * ISO_HASH + 1)

enum iso_verb { ISO_ADD, ISO_LIST, ISO_REMOVE };
struct iso_options {
	enum iso_verb verb;
	const char *state_dir;
	struct mount_hello hello;
	const char *source, *name;  /* a file or a URL; what it is to be called */
	char sha256[ISO_HASH_TEXT]; /* what it has to be, "": not said */
	uint64_t size_max;
	bool json, quiet;
};
/* options.c: -1 to go on, else the exit status. */
int iso_options_read(int argc, char **argv, struct iso_options *ret_options);
bool iso_name_good(const char *name);
bool iso_is_url(const char *source);

/* remote.c: calls at the daemon, one at a time. 0 or -errno. */
struct remote {
	int fd;
	struct mount_welcome welcome;
	struct mount_reply reply; /* of the last call */
	uint8_t data[MOUNT_DATA_MAX + 1];
};
/* Fills slot and lengths; @name, @name2, @data may be NULL. */
int remote_call(struct remote *remote, struct mount_call *call, const char *name, const char *name2,
		const void *data);
int remote_look_up(struct remote *remote, const struct vfs_object *directory, const char *name,
		   struct vfs_object *ret_object);
int remote_remove(struct remote *remote, const struct vfs_object *directory, const char *name);

/* library.c. The directory the images are in: template/iso where there is one (Proxmox VE's
 * layout), else the root. */
int library_find(struct remote *remote, struct vfs_object *ret_directory);
int library_list(struct remote *remote, const struct vfs_object *directory, bool json,
		 struct err *err);

/* An image on its way in: under a name of its own that begins with '.', until it is whole. */
struct upload {
	struct remote *remote;
	struct vfs_object directory, file;
	uint32_t hold;
	char name[ISO_NAME_MAX + 1], part[ISO_NAME_MAX + 8];
	uint64_t size, size_max, expected; /* expected: 0: not known */
	uint64_t verifier;
	void *hash; /* EVP_MD_CTX */
	uint8_t chunk[MOUNT_DATA_MAX];
	size_t fill;
	bool begun, quiet;
	struct err err;
};
int upload_begin(struct upload *upload);
/* upload_put: the next bytes. */
int upload_put(struct upload *upload, const void *data, size_t length);
/* upload_end: durable and under its name, if @sha256 ("": any) is right. @ret_sha256: what it is.
 */
int upload_end(struct upload *upload, const char *sha256, char ret_sha256[ISO_HASH_TEXT]);
void upload_drop(struct upload *upload); /* nothing stays of it */
/* Somebody has asked to stop. */
bool upload_interrupted(void);

/* source.c: all of a file or of what a URL gives, into @upload. */
int source_copy_file(int fd, struct upload *upload);
int source_copy_url(const char *url, struct upload *upload);

#endif
