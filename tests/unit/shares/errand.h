/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SHARES_ERRAND_H
#define TESTS_UNIT_SHARES_ERRAND_H

#include "shares/shares.h"
#include "tests/unit/shares/fs_bench.h"

/* What is asked of a share beside requests: begun on the loop by a message, one or several at a
 * time. */
struct errand {
	struct message message;
	struct share_call call;
	struct share_check_report report;
	enum { FORMAT, OPEN, CLOSE, CHECK, ROLLBACK, LIMIT, LIST } what;
	struct fs_bench *fs;
	struct volume *volume, *snapshot;
	const char *keep;
	struct share_user user, users[4];
	int result;
	bool done;
};

static void errand_done(struct share_call *call, int result)
{
	struct errand *errand = container_of(call, struct errand, call);

	errand->result = result;
	errand->done = true;
}

static void errand_run(struct message *message)
{
	struct errand *errand = container_of(message, struct errand, message);
	struct share_call *call = &errand->call;
	struct fs_bench *fs = errand->fs;

	call->done = errand_done;
	if (errand->what == FORMAT)
		share_format(errand->volume, fs->loop, 0, call);
	else if (errand->what == OPEN)
		share_open(errand->volume, fs->loop, false, call);
	else if (errand->what == CLOSE)
		share_close(fs->vfs, call);
	else if (errand->what == CHECK)
		share_check(fs->vfs, &errand->report, call);
	else if (errand->what == LIMIT)
		share_set_user(fs->vfs, &errand->user, call);
	else if (errand->what == LIST)
		share_list_users(fs->vfs, errand->users, 4, call);
	else
		share_rollback(fs->vfs, errand->snapshot, errand->keep, call);
}

static inline void errand_begin(struct errand *errand)
{
	loop_post(errand->fs->loop, &errand->message, errand_run);
}

static inline int errand_wait(struct errand *errand)
{
	for (unsigned i = 0; i < 20000 && !errand->done; i++)
		loop_poll(errand->fs->loop, 1000000);
	assert_true(errand->done);
	assert_int_equal(errand->report.errors, 0);
	assert_int_equal(errand->report.unbacked_bytes, 0);
	if (errand->what == OPEN)
		errand->fs->vfs = errand->call.vfs;
	return errand->result;
}

#endif
