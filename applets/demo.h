/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DEMO_H
#define DEMO_H

/* Two small applets, so that a demonstration needs nothing to be installed. Both return the exit
 * status, 0 or 1. */

/* `demo-httpd [IP] PORT`: answers every HTTP request with a page that says what the server sees of
 * itself and of the client. IP is 127.0.0.1 if not given; port 0 takes a free one. Prints
 * "listening on IP:PORT" when it is ready. Runs until SIGTERM or SIGINT, then returns 0. */
int demo_server_main(int argc, char **argv);

/* `demo-get IP PORT [PATH]`: fetches a page and prints it. 0 for a 2xx answer. Gives up after ten
 * seconds; a connection that is refused is not tried again. */
int demo_client_main(int argc, char **argv);

#endif
