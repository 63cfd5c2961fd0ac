/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
	struct command command;
	int status = command_parse(argc, argv, &command);

	signal(SIGPIPE, SIG_IGN);
	return status >= 0 ? status : command.verb->run(&command);
}
