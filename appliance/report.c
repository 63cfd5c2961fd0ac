/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/report.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "appliance/files.h"
#include "core/control.h"

static const char *const states[] = {
    [REPORT_STARTING] = "starting", [REPORT_CHECKING] = "checking", [REPORT_WRITING] = "writing",
    [REPORT_DONE] = "done",         [REPORT_WOULD] = "would",       [REPORT_FAILED] = "failed",
};

static int put(const char *folder, const char *name, json_t *object, struct err *err)
{
	char path[PATH_MAX], *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	int result;

	json_decref(object);
	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	snprintf(path, sizeof path, "%s/%s", folder, name);
	result = file_replace(path, text, strlen(text), 0600, err);
	free(text); /* jansson's */
	return result;
}

/* RFC 3339; empty: not yet. */
static json_t *moment(int64_t seconds)
{
	time_t when = (time_t)seconds;
	char text[32] = "";
	struct tm parts;

	if (seconds && gmtime_r(&when, &parts))
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
	return json_string(text);
}

int report_tell(const char *folder, const struct report *report, struct err *err)
{
	char slot[2] = {report->slot, '\0'};

	return put(folder, REPORT_UPDATE,
		   json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:o,s:o,s:I,s:s,s:o}", "state",
			     states[report->state], "kind",
			     report->rollback ? "rollback" : "install", "version", report->version,
			     "slot", slot, "done_bytes", (json_int_t)report->done, "size_bytes",
			     (json_int_t)report->size, "started", moment(report->started), "ended",
			     moment(report->ended), "began", (json_int_t)report->began, "code",
			     report->code, "detail", control_text(report->err.text)),
		   err);
}

int report_boot(const char *folder, const char *release, char running, const struct grubenv *env,
		struct err *err)
{
	char slot[2] = {running, '\0'}, next[2] = {env->slot, '\0'},
	     failed[2] = {env->failed, '\0'}, incomplete[2] = {env->half, '\0'};

	return put(folder, REPORT_BOOT,
		   json_pack("{s:s,s:s,s:s,s:b,s:s,s:s}", "release", release, "slot", slot, "next",
			     next, "on_trial", !env->good, "failed", failed, "incomplete",
			     incomplete),
		   err);
}

static void stop_path(const char *folder, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/" REPORT_STOP, folder);
}

int report_stop(const char *folder, struct err *err)
{
	char path[PATH_MAX];

	stop_path(folder, path);
	return file_replace(path, "", 0, 0600, err);
}

bool report_stopped(const char *folder)
{
	char path[PATH_MAX];

	stop_path(folder, path);
	return access(path, F_OK) == 0;
}

void report_go(const char *folder)
{
	char path[PATH_MAX];

	stop_path(folder, path);
	unlink(path);
}

int report_lock(const char *folder, int *ret_lock, struct err *err)
{
	char path[PATH_MAX];
	int lock, code;

	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return err_set(err, -errno, "%s: %s", folder, strerror(errno));
	snprintf(path, sizeof path, "%s/" REPORT_LOCK, folder);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) {
		*ret_lock = lock;
		return 0;
	}
	code = -errno;
	if (lock >= 0)
		close(lock);
	if (code == -EWOULDBLOCK)
		return err_set(err, -EBUSY, "another update is under way");
	return err_set(err, code, "%s: %s", path, strerror(-code));
}

const char *report_code(int error)
{
	static const struct {
		int error;
		const char *code;
	} codes[] = {
	    {-EKEYREJECTED, "wrong_signature"},
	    {-ENODATA, "bundle_truncated"},
	    {-EPERM, "older_release"},
	    {-EPROTO, "no_bundle"},
	    {-ENOKEY, "no_update_key"},
	    {-EBADMSG, "bundle_damaged"},
	    {-ENODEV, "no_appliance"},
	    {-EBUSY, "update_under_way"},
	    {-ENOSPC, "slot_too_small"},
	    {-ENOENT, "no_other_release"},
	    {-ENETUNREACH, "download_failed"},
	    {-ECANCELED, "update_cancelled"},
	    {-EXDEV, "no_way_back"},
	};

	for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
		if (codes[i].error == error)
			return codes[i].code;
	}
	return "update_failed";
}
