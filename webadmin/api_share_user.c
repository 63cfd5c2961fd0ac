/* SPDX-License-Identifier: Apache-2.0 */
/* api_share_user.c: what the files of each user take of a share, and may take. */
#include <errno.h>
#include <stdlib.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/share.h"

struct user_work {
	struct api_request *request;
	struct share_call call;
	struct share_user wanted;  /* of a dry run */
	struct share_user users[]; /* room for the answer */
};

static struct model_share *find_open(struct api_request *request)
{
	const char *pool = request->match.param[0], *name = request->match.param[1];
	struct model_share *share = model_share_find(request->model, pool, name);

	if (!share)
		api_reply_error(request, 404, "share_not_found", "no share named %s/%s", pool,
				name);
	else if (!share->vfs || share->away || share->deleting)
		api_reply_error(request, 409, "share_unavailable",
				"share %s/%s is not available: %s", pool, name, share->reason);
	else
		return share;
	return NULL;
}

static struct user_work *work_new(struct api_request *request, unsigned room,
				  void (*done)(struct share_call *call, int result))
{
	struct user_work *work = heap_zalloc(sizeof *work + room * sizeof work->users[0]);

	request->state = work;
	if (!work) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return NULL;
	}
	work->request = request;
	work->call.done = done;
	return work;
}

static void failed(struct user_work *work, int result)
{
	struct api_request *request = work->request;

	request->err = work->call.err;
	request->err.code = result;
	api_reply_failure(request, result == -E2BIG ? "too_many_owners" : NULL);
}

static json_t *show_user(const struct share_user *user)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I}", "uid", (json_int_t)user->uid, "used_bytes",
			 (json_int_t)user->used_bytes, "limit_bytes", (json_int_t)user->limit_bytes,
			 "files", (json_int_t)user->files, "limit_files",
			 (json_int_t)user->limit_files);
}

/* ---- the list ---- */
static void listed(struct share_call *call, int result)
{
	struct user_work *work = container_of(call, struct user_work, call);
	json_t *list;

	if (result < 0) {
		failed(work, result);
		return;
	}
	list = json_array();
	for (unsigned i = 0; i < call->user_count; i++)
		json_array_append_new(list, show_user(&work->users[i]));
	api_reply(work->request, 200, list);
}

void api_share_users(struct api_request *request)
{
	struct model_share *share = find_open(request);
	struct user_work *work = share ? work_new(request, SHARE_USERS_MAX, listed) : NULL;

	if (work)
		share_list_users(share->vfs, work->users, SHARE_USERS_MAX, &work->call);
}

/* ---- a limit ---- */
static void limited(struct share_call *call, int result)
{
	struct user_work *work = container_of(call, struct user_work, call);
	struct api_request *request = work->request;

	if (result < 0) {
		failed(work, result);
		return;
	}
	log_notice("share %s/%s: limits of user %u set", request->match.param[0],
		   request->match.param[1], call->user.uid);
	api_reply(request, 200, show_user(&call->user));
}

static json_t *show_limit(uint64_t limit)
{
	return limit ? json_integer((json_int_t)limit) : json_null();
}

static json_t *show_limits(uint64_t space, uint64_t files)
{
	return json_pack("{s:o,s:o}", "space_limit_bytes", show_limit(space), "limit_files",
			 show_limit(files));
}

/* Who is not counted yet has no limits. */
static void would_limit(struct share_call *call, int result)
{
	struct user_work *work = container_of(call, struct user_work, call);
	const struct share_user *wanted = &work->wanted;
	struct share_user now = {.uid = wanted->uid};

	if (result < 0) {
		failed(work, result);
		return;
	}
	for (unsigned i = 0; i < call->user_count; i++)
		if (work->users[i].uid == wanted->uid)
			now = work->users[i];
	api_reply_dry(
	    work->request,
	    json_sprintf("user %u of share %s/%s", wanted->uid, work->request->match.param[0],
			 work->request->match.param[1]),
	    show_limits(now.limit_bytes, now.limit_files),
	    show_limits(wanted->set & SHARE_USER_BYTES ? wanted->limit_bytes : now.limit_bytes,
			wanted->set & SHARE_USER_FILES ? wanted->limit_files : now.limit_files));
}

/* False: a 400 has been sent. */
static bool read_uid(struct api_request *request, uint32_t *ret_uid)
{
	const char *text = request->match.param[2];
	char *end;
	unsigned long long uid = strtoull(text, &end, 10);

	if (*text >= '0' && *text <= '9' && !*end && uid <= UINT32_MAX) {
		*ret_uid = (uint32_t)uid;
		return true;
	}
	api_reply_error(request, 400, "bad_id", "an id is a number from 0 to 4294967295");
	return false;
}

/* False: a 400 has been sent. */
static bool read_limits(struct api_request *request, struct share_user *user)
{
	json_t *size = NULL;
	json_int_t files = -1;

	if (!api_unpack(request, "{s?:o,s?:I}", "limit", &size, "files", &files))
		return false;
	if (size && !api_is_none(size)) {
		if (!api_size(request, size, &user->limit_bytes))
			return false;
		if (user->limit_bytes > INT64_MAX) {
			api_reply_error(request, 400, "bad_size", "a limit is less than 8 EiB");
			return false;
		}
		/* what is less than a block would be none */
		if (user->limit_bytes && user->limit_bytes < VFS_BLOCK)
			user->limit_bytes = VFS_BLOCK;
	}
	if (json_object_get(request->body, "files")) {
		if (files < 0) {
			api_reply_error(request, 400, "bad_number",
					"files is a number, 0: no limit");
			return false;
		}
		user->limit_files = (uint64_t)files;
		user->set |= SHARE_USER_FILES;
	}
	if (size)
		user->set |= SHARE_USER_BYTES;
	if (user->set)
		return true;
	api_reply_error(request, 400, "no_limit", "say a limit, files, or both");
	return false;
}

void api_share_user_limit(struct api_request *request)
{
	struct model_share *share = find_open(request);
	struct share_user user = {0};
	bool dry = api_is_dry(request);
	struct user_work *work;

	if (!share || !read_uid(request, &user.uid) || !read_limits(request, &user) ||
	    !(work = work_new(request, dry ? SHARE_USERS_MAX : 0, dry ? would_limit : limited)))
		return;
	work->wanted = user;
	if (dry)
		share_list_users(share->vfs, work->users, SHARE_USERS_MAX, &work->call);
	else
		share_set_user(share->vfs, &user, &work->call);
}
