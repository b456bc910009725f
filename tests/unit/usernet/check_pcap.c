/* SPDX-License-Identifier: Apache-2.0 */

/* Recording of frames in the pcap format. The test reads it by pcap-savefile(5). */
#include "tests/unit/capturedlog.h"
#include "tests/unit/fixture.h"
#include "usernet/pcap.h"

#include <sys/time.h>

#define THREADS 4
#define FRAMES	500 /* of each thread */

struct record {
	uint32_t time_s, time_ns, len, frame_len;
	uint8_t bytes[PCAP_SNAPLEN];
};

static uint8_t frame[PCAP_SNAPLEN + 1000];
static struct record record;

static struct pcap *open_recording(const char *path)
{
	struct pcap *p = NULL;
	struct err e;

	ck_assert_msg(pcap_open(&p, path, &e) == 0, "%s", e.msg);
	return p;
}

/* Reads the head of a file: magic number for nanoseconds, version 2.4, snap length, Ethernet. */
static void check_head(FILE *f)
{
	uint32_t words[6];
	uint16_t version[2];

	ck_assert_uint_eq(fread(words, sizeof(words), 1, f), 1);
	memcpy(version, &words[1], sizeof(version));
	ck_assert_uint_eq(words[0], 0xa1b23c4d);
	ck_assert_uint_eq(version[0], 2);
	ck_assert_uint_eq(version[1], 4);
	ck_assert_uint_eq(words[2], 0);
	ck_assert_uint_eq(words[3], 0);
	ck_assert_uint_eq(words[4], PCAP_SNAPLEN);
	ck_assert_uint_eq(words[5], 1);
}

static FILE *open_file(const char *path)
{
	FILE *f = fopen(path, "re");

	ck_assert_ptr_nonnull(f);
	check_head(f);
	return f;
}

/* Reads the next record. Returns false at the end of the file, and fails if that is within a
 * record. */
static bool next_record(FILE *f)
{
	uint32_t words[4];
	size_t n = fread(words, 1, sizeof(words), f);

	if (n == 0)
		return false;
	ck_assert_uint_eq(n, sizeof(words));
	record.time_s = words[0];
	record.time_ns = words[1];
	record.len = words[2];
	record.frame_len = words[3];
	ck_assert_uint_le(record.len, PCAP_SNAPLEN);
	ck_assert_uint_eq(fread(record.bytes, 1, record.len, f), record.len);
	return true;
}

static void assert_record(FILE *f, const char *bytes, size_t len)
{
	ck_assert(next_record(f));
	ck_assert_uint_eq(record.len, len);
	ck_assert_uint_eq(record.frame_len, len);
	ck_assert_mem_eq(record.bytes, bytes, len);
}

START_TEST(frames_are_recorded)
{
	char *path = fixture_path("pcap");
	struct pcap *p = open_recording(path);
	FILE *f;

	pcap_add(p, "head", 4, "and rest", 8);
	pcap_add(p, "only head", 9, NULL, 0);
	f = open_file(path); /* each frame is there at once */
	assert_record(f, "headand rest", 12);
	assert_record(f, "only head", 9);
	ck_assert(!next_record(f));
	pcap_add(p, "later", 5, "", 0);
	clearerr(f);
	assert_record(f, "later", 5);
	fclose(f);
	pcap_close(p);
}
END_TEST

START_TEST(times_are_those_of_the_clock)
{
	struct timespec before, after;
	char *path = fixture_path("pcap");
	struct pcap *p = open_recording(path);
	FILE *f;

	clock_gettime(CLOCK_REALTIME, &before);
	pcap_add(p, "x", 1, NULL, 0);
	clock_gettime(CLOCK_REALTIME, &after);
	pcap_close(p);
	f = open_file(path);
	ck_assert(next_record(f));
	fclose(f);
	ck_assert_uint_lt(record.time_ns, 1000000000);
	ck_assert(record.time_s > before.tv_sec ||
		  (record.time_s == before.tv_sec && record.time_ns >= before.tv_nsec));
	ck_assert(record.time_s < after.tv_sec ||
		  (record.time_s == after.tv_sec && record.time_ns <= after.tv_nsec));
}
END_TEST

START_TEST(a_file_is_made_for_its_user_only)
{
	mode_t old = umask(0);
	char *path = fixture_path("pcap");
	struct stat st;

	pcap_close(open_recording(path));
	umask(old);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
}
END_TEST

START_TEST(an_old_recording_is_replaced)
{
	char *path = fixture_file("pcap", "what was there before, longer than the head of a file",
				  0640);
	struct stat st;
	FILE *f;

	pcap_close(open_recording(path));
	f = open_file(path);
	ck_assert(!next_record(f));
	fclose(f);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
}
END_TEST

static const struct {
	size_t head, rest, recorded;
} lengths[] = {
	{ PCAP_SNAPLEN - 1, 1, PCAP_SNAPLEN },
	{ PCAP_SNAPLEN, 1, PCAP_SNAPLEN },
	{ PCAP_SNAPLEN + 1, 0, PCAP_SNAPLEN },
	{ 100, PCAP_SNAPLEN, PCAP_SNAPLEN },
	{ 0, 0, 0 },
	{ 0, 10, 10 },
};

START_TEST(long_frames_are_cut)
{
	char *path = fixture_path("pcap");
	struct pcap *p = open_recording(path);
	FILE *f;

	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 7);
	pcap_add(p, frame, lengths[_i].head, frame + lengths[_i].head, lengths[_i].rest);
	pcap_add(p, "next", 4, NULL, 0);
	pcap_close(p);
	f = open_file(path);
	ck_assert(next_record(f));
	ck_assert_uint_eq(record.frame_len, lengths[_i].head + lengths[_i].rest);
	ck_assert_uint_eq(record.len, lengths[_i].recorded);
	ck_assert_mem_eq(record.bytes, frame, record.len);
	assert_record(f, "next", 4);
	fclose(f);
}
END_TEST

/* ---- several threads ---- */

static void *add_frames(void *arg)
{
	static atomic_uchar next;
	uint8_t bytes[3000];
	unsigned char mine = next++;

	for (size_t i = 0; i < FRAMES; i++) {
		memset(bytes, mine, sizeof(bytes));
		pcap_add(arg, bytes, 10, bytes, (i * 37 + mine) % sizeof(bytes));
	}
	return NULL;
}

static void add_from_threads(struct pcap *p)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		threads[i] = fixture_thread(add_frames, p);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* Each record has bytes of one thread, the records of a thread are in order, and no record is
 * earlier than the one before it. */
static void check_threads(FILE *f)
{
	uint64_t last = 0, now;
	size_t seen[THREADS] = { 0 };
	uint8_t bytes[3010];

	while (next_record(f)) {
		uint8_t thread = record.bytes[0];

		ck_assert_uint_lt(thread, THREADS);
		ck_assert_uint_eq(record.len, 10 + (seen[thread]++ * 37 + thread) % 3000);
		memset(bytes, thread, sizeof(bytes));
		ck_assert_mem_eq(record.bytes, bytes, record.len);
		now = record.time_s * UINT64_C(1000000000) + record.time_ns;
		ck_assert(now >= last);
		last = now;
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert_uint_eq(seen[i], FRAMES);
}

START_TEST(frames_of_threads_do_not_mix)
{
	char *path = fixture_path("pcap");
	struct pcap *p = open_recording(path);
	FILE *f;

	add_from_threads(p);
	pcap_close(p);
	f = open_file(path);
	check_threads(f);
	fclose(f);
}
END_TEST

static void *read_pipe(void *arg)
{
	FILE *f = open_file(arg);

	check_threads(f);
	fclose(f);
	return NULL;
}

/* As in `tcpdump -r FIFO`. The pipe is much shorter than the recording. */
START_TEST(a_pipe_gets_whole_frames)
{
	char *path = fixture_path("pipe");
	pthread_t reader;
	struct pcap *p;

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	reader = fixture_thread(read_pipe, path);
	p = open_recording(path);
	add_from_threads(p);
	pcap_close(p);
	pthread_join(reader, NULL);
}
END_TEST

/* ---- failures ---- */

static const struct {
	const char *path, *why;
} bad_paths[] = {
	{ "/nonexistent/pcap", "cannot record frames: open /nonexistent/pcap: no such file or "
			       "directory" },
	{ "/", "cannot record frames: open /: is a directory" },
	{ "/dev/full", "cannot record frames: write to /dev/full: no space left on device" },
};

START_TEST(a_file_that_cannot_be_written_is_an_error)
{
	struct pcap *p = NULL;
	struct err e;

	ck_assert_int_lt(pcap_open(&p, bad_paths[_i].path, &e), 0);
	ck_assert_str_eq(e.msg, bad_paths[_i].why);
	ck_assert_ptr_null(p);
}
END_TEST

/* Bytes of the fourth record that the file has room for: its head has 16, its frame 50 and 50. */
static const int rooms[] = { 0, 1, 15, 16, 17, 65, 66, 67, 115 };

/* The limit of a file's size stands for a full disk. Both can cut a record. */
START_TEST(a_full_disk_ends_the_recording)
{
	const struct rlimit small = { 24 + 3 * 116 + (rlim_t)rooms[_i], RLIM_INFINITY };
	char *path = fixture_path("pcap"), wanted[PATH_MAX];
	struct rlimit old;
	struct pcap *p = open_recording(path);
	size_t count = 0;
	FILE *f;

	capture_log(false);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (int i = 0; i < 10; i++)
		pcap_add(p, frame, 50, frame, 50);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	pcap_add(p, "too late", 8, NULL, 0);
	pcap_close(p);
	snprintf(wanted, sizeof(wanted),
		 "frames are not recorded any more: write to %s: file too large", path);
	ck_assert_ptr_nonnull(strstr(read_log(), wanted));
	ck_assert_ptr_null(strchr(strchr(read_log(), '\n') + 1, '\n')); /* once */
	release_log();
	f = open_file(path);
	while (next_record(f))
		count++;
	fclose(f);
	ck_assert_uint_eq(count, 3);
}
END_TEST

START_TEST(a_reader_that_goes_ends_the_recording)
{
	char *path = fixture_path("pipe");
	struct pcap *p;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	p = open_recording(path);
	close(fd);
	capture_log(false);
	pcap_add(p, "x", 1, NULL, 0);
	pcap_add(p, "x", 1, NULL, 0);
	ck_assert_ptr_nonnull(strstr(read_log(), "broken pipe"));
	release_log();
	pcap_close(p);
	pcap_close(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pcap");
	TCase *tc = fixture_case_with_dir("pcap");

	tcase_add_test(tc, frames_are_recorded);
	tcase_add_test(tc, times_are_those_of_the_clock);
	tcase_add_test(tc, a_file_is_made_for_its_user_only);
	tcase_add_test(tc, an_old_recording_is_replaced);
	tcase_add_loop_test(tc, long_frames_are_cut, 0, COUNT(lengths));
	tcase_add_test(tc, frames_of_threads_do_not_mix);
	tcase_add_test(tc, a_pipe_gets_whole_frames);
	tcase_add_loop_test(tc, a_file_that_cannot_be_written_is_an_error, 0, COUNT(bad_paths));
	tcase_add_loop_test(tc, a_full_disk_ends_the_recording, 0, COUNT(rooms));
	tcase_add_test(tc, a_reader_that_goes_ends_the_recording);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
