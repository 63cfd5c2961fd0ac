/* SPDX-License-Identifier: Apache-2.0 */
/* Which folders of this machine may be served, and what of them is: what is allowed and guarded,
 * what is mounted where, what it takes. */
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/shares/host_place.h"

/* ---- what may be opened */

static void only_what_is_allowed(void **state)
{
	static const struct {
		const char *path, *allowed;
		int result;
	} rows[] = {
	    {"served", NULL, -EACCES},    /* nothing is, unless it is said */
	    {"served", "other", -EACCES}, /* beside it */
	    {"served", "serve", -EACCES}, /* a beginning of a name is no directory above */
	    {"link", "", -ELOOP},         /* a symbolic link is not followed */
	    {"link/in", "", -ELOOP},      /* in the middle neither */
	    {"served/../../etc", "served", -EINVAL}, /* nor does it lead out */
	    {"served/.", "served", -EINVAL},         /* a directory has one name */
	    {"served/", "served", -EINVAL},
	    {"/served", "", -EINVAL},
	    {"absent", "", -ENOENT},
	    {"file", "", -ENOTDIR},
	};
	struct place place;
	char base[100], path[160];

	(void)state;
	make_place(&place);
	place.options.allowed = place.allowed;
	snprintf(base, sizeof(base), "%s/link", place.base);
	assert_int_equal(symlink(place.path, base), 0);
	assert_int_equal(mkdir(at(&place, "in"), 0755), 0);
	snprintf(base, sizeof(base), "%s/file", place.base);
	write_file(base, "x");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(base, sizeof(base), "%s/%s", place.base,
			 rows[i].allowed ? rows[i].allowed : "");
		snprintf(path, sizeof(path), "%s/%s", place.base, rows[i].path);
		place.allowed[0] = base;
		place.options.allowed_count = rows[i].allowed ? 1 : 0;
		place.options.path = path;
		assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err),
				 rows[i].result);
		assert_non_null(strstr(place.fs.err.text, path));
	}
	place.options.allowed_count = 1;
	place.options.path = "served";
	assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err),
			 -EINVAL);
	place.allowed[0] = "/";
	place.options.path = "/proc/self"; /* a symbolic link */
	assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err), -ELOOP);
	close_place(&place);
}

static void check_refused(struct place *place, const char *path, const char *why)
{
	place->options.path = path;
	assert_int_equal(host_directory_open(&place->options, &place->fs.vfs, &place->fs.err),
			 -EACCES);
	if (!strstr(place->fs.err.text, why))
		fail_msg("%s: %s", path, place->fs.err.text);
}

/* Neither what is guarded, nor what is in it, nor what it is in; by whatever way it is named. */
static void never_served(void **state)
{
	struct place place;
	char secret_file[100], link[100], inner[120];
	const char *guarded[2] = {NULL, "/absent/file"};

	(void)state;
	make_place(&place);
	place.allowed[0] = "/";
	place.options.path = "/";
	assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err),
			 -EINVAL);
	check_refused(&place, "/proc/sys", "it is in /proc");
	check_refused(&place, "/dev", "it is in /dev");
	check_refused(&place, "/etc", "it is in /etc");
	place.options.guarded = guarded;
	place.options.guarded_count = 2;
	guarded[0] = place.path;
	check_refused(&place, place.path, "it is in");
	check_refused(&place, place.base, "is in it");
	snprintf(inner, sizeof(inner), "%s", at(&place, "inner"));
	assert_int_equal(mkdir(inner, 0755), 0);
	check_refused(&place, inner, "it is in");
	snprintf(secret_file, sizeof(secret_file), "%s/secret", place.base);
	write_file(secret_file, "x");
	snprintf(link, sizeof(link), "%s/link", place.path);
	assert_int_equal(symlink(secret_file, link), 0);
	guarded[0] = link; /* what a link leads to is what is guarded, not where the link is */
	check_refused(&place, place.base, "is in it");
	close_place(&place);
}

/* What is not there does not matter, and what is guarded beside it neither. */
static void served_beside(void **state)
{
	struct place place;
	char beside[100];
	const char *guarded[2] = {beside, "/absent/file"};

	(void)state;
	OPEN_OR_SKIP(&place);
	snprintf(beside, sizeof(beside), "%s/beside", place.base);
	write_file(beside, "x");
	place.options.guarded = guarded;
	place.options.guarded_count = 2;
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err), 0);
	close_place(&place);
}

/* A disk that is mounted later, a folder that another one has taken the place of. */
static void looked_at(void **state)
{
	struct place place;
	char aside[100];

	(void)state;
	OPEN_OR_SKIP(&place);
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err), 0);
	snprintf(aside, sizeof(aside), "%s/aside", place.base);
	assert_int_equal(rename(place.path, aside), 0);
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err), -ENOENT);
	assert_int_equal(mkdir(place.path, 0755), 0);
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err),
			 -ENOTUNIQ);
	assert_int_equal(rmdir(place.path), 0);
	assert_int_equal(rename(aside, place.path), 0);
	assert_int_equal(host_directory_look(place.fs.vfs, &place.options, &place.fs.err), 0);
	close_place(&place);
}

/* ---- mounts: in a child with its own view of them; nothing is left when it ends */

static void check_mounts(struct place *place)
{
	struct fs_bench *fs = &place->fs;
	struct vfs_object root = fs->vfs->root, covered;
	uint8_t seen = 0;

	assert_int_equal(mkdir(at(place, "disk"), 0755), 0);
	write_file(at(place, "file"), "below");
	write_file(at(place, "plain"), "plain");
	covered = find(place, &root, "disk");
	assert_int_equal(mount("none", at(place, "disk"), "tmpfs", 0, ""), 0);
	write_file(at(place, "disk/strange"), "of another file system");
	assert_int_equal(mount(at(place, "plain"), at(place, "file"), NULL, MS_BIND, NULL), 0);
	assert_int_equal(fs_lookup(fs, &root, "disk", NULL), -ENOENT);
	assert_int_equal(fs_lookup(fs, &root, "file", NULL), -ENOENT);
	/* what was found before is the directory below, not what is mounted on it */
	assert_int_equal(fs_lookup(fs, &covered, "strange", NULL), -ENOENT);
	for (unsigned flags = 0; flags <= VFS_WANT_ATTR; flags += VFS_WANT_ATTR) {
		assert_int_equal(fs_readdir(fs, &root, 0, 4096, flags), 0);
		assert_true(fs->request.eof);
		assert_int_equal(fs->request.entry_count, 1);
		seen += strcmp(((struct vfs_dirent *)(void *)fs->data)->name, "plain") == 0;
	}
	assert_int_equal(seen, 2);
	assert_int_equal(umount(at(place, "file")), 0);
	assert_int_equal(umount(at(place, "disk")), 0);
	covered = find(place, &root, "file");
}

/* What is mounted from elsewhere is still in what it is in. */
static void check_guarded_mounts(struct place *place)
{
	struct host_directory_options *options = &place->options;
	const char *guarded[1];
	struct vfs *vfs;
	char state[100], elsewhere[100];

	options->guarded = guarded;
	options->guarded_count = 1;
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", place->base);
	snprintf(state, sizeof(state), "%s/state", place->path);
	assert_int_equal(mkdir(elsewhere, 0755), 0);
	assert_int_equal(mkdir(state, 0755), 0);
	assert_int_equal(mkdir(at(place, "state/below"), 0755), 0);
	/* the guarded one is in what is served, and reached by another way */
	guarded[0] = elsewhere;
	assert_int_equal(mount(state, elsewhere, NULL, MS_BIND, NULL), 0);
	assert_int_equal(host_directory_open(options, &vfs, &place->fs.err), -EACCES);
	assert_non_null(strstr(place->fs.err.text, "is in it"));
	assert_int_equal(umount(elsewhere), 0);
	assert_int_equal(host_directory_look(place->fs.vfs, options, &place->fs.err), 0);
	/* what is to be served is a part of the guarded one */
	guarded[0] = state;
	options->path = elsewhere;
	assert_int_equal(mount(at(place, "state/below"), elsewhere, NULL, MS_BIND, NULL), 0);
	assert_int_equal(host_directory_open(options, &vfs, &place->fs.err), -EACCES);
	assert_non_null(strstr(place->fs.err.text, "it is in"));
	assert_int_equal(umount(elsewhere), 0);
	/* and beside it is beside it */
	assert_int_equal(mkdir(at(place, "beside"), 0755), 0);
	assert_int_equal(mount(at(place, "beside"), elsewhere, NULL, MS_BIND, NULL), 0);
	assert_int_equal(host_directory_open(options, &vfs, &place->fs.err), 0);
	vfs_unref(vfs);
	assert_int_equal(umount(elsewhere), 0);
}

static void with_own_mounts(void (*check)(struct place *place))
{
	struct place place;
	int status;
	pid_t child;

	if (geteuid() != 0)
		skip();
	child = fork(); /* before there are threads */
	assert_true(child >= 0);
	if (child == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(77);
		if (!open_place(&place))
			_exit(77);
		check(&place);
		close_place(&place);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void mount_points(void **state)
{
	(void)state;
	with_own_mounts(check_mounts);
}

static void guarded_mounts(void **state)
{
	(void)state;
	with_own_mounts(check_guarded_mounts);
}

/* Without CAP_DAC_READ_SEARCH it is said what is missing. */
static void check_privilege(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	struct place place;

	make_place(&place);
	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	data[0].effective &= ~(1u << CAP_DAC_READ_SEARCH);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
	assert_int_equal(host_directory_open(&place.options, &place.fs.vfs, &place.fs.err), -EPERM);
	assert_non_null(strstr(place.fs.err.text, "CAP_DAC_READ_SEARCH"));
	close_place(&place);
}

static void without_privilege(void **state)
{
	int status;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		check_privilege();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mount_points),      cmocka_unit_test(guarded_mounts),
	    cmocka_unit_test(without_privilege), cmocka_unit_test(only_what_is_allowed),
	    cmocka_unit_test(never_served),      cmocka_unit_test(served_beside),
	    cmocka_unit_test(looked_at),
	};

	umask(022);
	return cmocka_run_group_tests_name("shares/host_guard", tests, NULL, NULL);
}
