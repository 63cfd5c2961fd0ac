/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_IMAGE_H
#define WEBADMIN_IMAGE_H

#include <openssl/evp.h>

#include "shares/vfs.h"
#include "webadmin/api.h"

/* Inside webadmin/: images for installing guests that come into a share in pieces, as a browser
 * sends them. The way into the share is that of granary-iso (isotool/upload.c): nothing is seen of
 * an image before all of it is durable and its checksum is right. It is written as .NAME.part, one
 * link gives it its name, and then the part goes.
 *
 * I1 A piece is taken at the offset up to which all is there, and nowhere else.
 * I2 What the attribute IMAGE_PROGRESS of a part says is durable: an upload whose memory has gone
 *    (a restart, too many others) goes on from there, and what is there is hashed again.
 * I3 The name is given after the commit of everything, under one write verifier.
 * I4 Two files do not become one: begin says the checksum of what is there, and an upload that was
 *    gone on with needs the checksum of all of it at its end. */

#define IMAGE_UPLOADS_MAX 16u           /* whose hash is kept; more take the place of the oldest */
#define IMAGE_PIECE_MAX   (1u << 20)    /* bytes of a piece */
#define IMAGE_KEEP_BYTES  (64ull << 20) /* so often the progress is made durable */
#define IMAGE_SIZE_MAX    (64ull << 30)
#define IMAGE_NAME_MAX    200u
#define IMAGE_LIST_MAX    4096u /* images of a share that are listed */

#define IMAGE_HASH     "sha256" /* attributes; the first is granary-iso's too */
#define IMAGE_PROGRESS "upload" /* "RECEIVED SIZE" */
#define HASH_BYTES     32u
#define HASH_TEXT      (2 * HASH_BYTES + 1)
#define PROGRESS_TEXT  48u

/* One that is under way. Gone from memory it can still be gone on with (I2). */
struct upload {
	struct list link; /* of the uploads, the one that was used last in front */
	uint8_t share[16];
	char name[IMAGE_NAME_MAX + 1];
	struct vfs_object part;
	uint64_t size, received, kept; /* kept: IMAGE_PROGRESS says so */
	uint64_t verifier;             /* the share's when it was begun, or gone on with */
	EVP_MD_CTX *hash;              /* of what was received */
	bool busy;                     /* a request works on it */
	bool resumed;                  /* gone on with, maybe by who has another file (I4) */
};

struct image_work {
	struct api_request *request;
	struct vfs *vfs; /* referenced */
	struct vfs_credentials root;
	struct vfs_request call;
	struct iovec iov;
	void (*next)(struct image_work *work, int result);
	void (*found)(struct image_work *work); /* the directory is known */
	struct vfs_object directory, object;
	struct upload *upload; /* busy with this work; NULL: none */
	uint8_t share[16];
	char name[IMAGE_NAME_MAX + 1], part[IMAGE_NAME_MAX + 8];
	char wanted[HASH_TEXT], hash[HASH_TEXT], progress[PROGRESS_TEXT];
	uint64_t size, offset; /* offset: of what is hashed again; of the list's page */
	uint32_t length;
	bool anew;       /* what is there of a part goes */
	uint8_t *buffer; /* IMAGE_PIECE_MAX bytes */
	/* of a list */
	json_t *list;
	const struct vfs_dirent *entry; /* whose hash is asked for */
	uint32_t at, end;               /* of the page in the buffer */
	bool eof;
};

/* image.c. upload_new: of a work, which has it then; NULL: there are too many, or no memory.
 * upload_used: it is one that was used last. */
struct upload *upload_find(struct webadmin *admin, const uint8_t share[16], const char *name);
struct upload *upload_new(struct image_work *work);
void upload_used(struct webadmin *admin, struct upload *upload);
void upload_free(struct upload *upload);

/* image_work_new: of @request, on the share its path names; @name: of the image, NULL: none. NULL:
 * it was answered. image_work_end: what the work holds goes, and the request is to be answered;
 * @drop: the upload's memory too, for what is in the share is not sure any more.
 * image_work_failed: both, with what @result says. */
struct image_work *image_work_new(struct api_request *request, const char *name);
struct api_request *image_work_end(struct image_work *work, bool drop);
void image_work_failed(struct image_work *work, int result);

/* One step in the share, as root; next() with what came of it. image_find_directory: where the
 * images are: template/iso where there is one (Proxmox VE's), else the root. */
typedef void (*image_next)(struct image_work *work, int result);
void image_call(struct image_work *work, const struct vfs_request *call, image_next next);
void image_look_up(struct image_work *work, const struct vfs_object *directory, const char *name,
		   image_next next);
void image_get_attribute(struct image_work *work, const struct vfs_object *object, const char *name,
			 char *text, size_t room, image_next next);
void image_set_attribute(struct image_work *work, const struct vfs_object *object, const char *name,
			 char *text, image_next next);
void image_set_size(struct image_work *work, const struct vfs_object *object, uint64_t size,
		    image_next next);
void image_commit(struct image_work *work, const struct vfs_object *object, image_next next);
void image_remove(struct image_work *work, const char *name, image_next next);
void image_find_directory(struct image_work *work, void (*found)(struct image_work *work));

/* images_finish: forgets uploads; their parts stay, and can be gone on with. */
void images_finish(struct webadmin *admin);

#endif
