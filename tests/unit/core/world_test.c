/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/world.h"

/* Which engine is chosen, and what is said when the kernel refuses io_uring: a seccomp filter in
 * a child process stands for kernel.io_uring_disabled and container runtimes. */

static bool forbid_io_uring(int error)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum verdict { FINE, NO_FILTER, NOT_AIO, NOT_REFUSED, WRONG_CODE, NO_REASON };

static enum verdict judge_refusal(int error)
{
	const struct world_ops *world = NULL;
	struct err err = {0};
	int r;

	if (!forbid_io_uring(error))
		return NO_FILTER;
	if (world_select("auto", &world, &err) != 0 || world != &world_aio)
		return NOT_AIO;
	world = NULL;
	r = world_select("uring", &world, &err);
	if (r == 0 || world)
		return NOT_REFUSED;
	if (r != -error)
		return WRONG_CODE;
	return strstr(err.text, "io_uring") ? FINE : NO_REASON;
}

static void refused_io_uring_falls_back(void **state)
{
	static const int errors[] = {EPERM, ENOSYS, ENOMEM};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(judge_refusal(errors[i]));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), FINE);
	}
}

static void engines_are_chosen_by_name(void **state)
{
	const struct world_ops *world = NULL;
	struct err err = {0};

	(void)state;
	assert_int_equal(world_select("aio", &world, &err), 0);
	assert_ptr_equal(world, &world_aio);
	assert_int_equal(world_select("auto", &world, &err), 0);
	world = NULL;
	assert_int_equal(world_select("fast", &world, &err), -EINVAL);
	assert_non_null(strstr(err.text, "\"fast\""));
	assert_null(world);
}

/* Every allocation of opening a loop fails once; nothing is leaked (the sanitizer build sees
 * that) and the next attempt works. */
static void open_survives_short_memory(void **state)
{
	struct loop *loop = NULL;
	int r = -1;

	for (long count = 0; r < 0; count++) {
		struct err err = {0};

		assert_true(count < 100);
		heap_fail_after(count);
		r = loop_create(*state, &loop, &err);
		heap_fail_after(-1);
		if (r < 0)
			assert_true(err.text[0] != 0);
	}
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(engines_are_chosen_by_name),
	    cmocka_unit_test(refused_io_uring_falls_back),
	    {"open_survives_short_memory (uring)", open_survives_short_memory, NULL, NULL,
	     (void *)&world_uring},
	    {"open_survives_short_memory (aio)", open_survives_short_memory, NULL, NULL,
	     (void *)&world_aio},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
