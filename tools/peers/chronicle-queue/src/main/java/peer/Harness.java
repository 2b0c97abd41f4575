package peer;

import java.util.Arrays;
import net.openhft.chronicle.bytes.Bytes;
import net.openhft.chronicle.queue.ChronicleQueue;
import net.openhft.chronicle.queue.ExcerptAppender;
import net.openhft.chronicle.queue.ExcerptTailer;
import net.openhft.chronicle.queue.impl.single.SingleChronicleQueueBuilder;
import net.openhft.chronicle.wire.DocumentContext;

/**
 * Appends and reads 64-byte records; prints one JSON object. Arguments: bench FOLDER RECORDS WARM, or send FOLDER
 * RECORDS RATE READERS, or receive FOLDER RECORDS.
 */
public final class Harness {
    private static final int WORDS = 8;

    private static final int WARM = 200_000;
    private static final int BURST = 1_000;

    public static void main(String[] arguments) throws Exception {
        int count = Integer.parseInt(arguments[2]);
        switch (arguments[0]) {
            case "bench" -> bench(arguments[1], count, Integer.parseInt(arguments[3]));
            case "send" -> send(arguments[1], count, Long.parseLong(arguments[3]));
            default -> receive(arguments[1], count);
        }
    }

    private static ChronicleQueue queue(String folder) {
        return SingleChronicleQueueBuilder.binary(folder).blockSize(256 << 20).build();
    }

    /** Sends the warm-up with stamp 0, then `count` records stamped right before their append. */
    private static void send(String folder, int count, long rate) throws Exception {
        try (ChronicleQueue queue = queue(folder);
                ExcerptAppender appender = queue.createAppender()) {
            append(appender, 0);
            System.out.println("ready");
            System.in.read();
            for (int number = 0; number < WARM; number++) append(appender, 0);
            Thread.sleep(500);
            long pause = 1_000_000_000L / rate;
            long start = System.nanoTime();
            long due = start;
            for (int number = 0; number < count; number++) {
                due += pause;
                long now = System.nanoTime();
                while (now < due) now = System.nanoTime();
                append(appender, now);
            }
            System.out.printf(
                    java.util.Locale.ROOT, "{\"sent\":%.1f}%n", count * 1e9 / (System.nanoTime() - start));
            System.in.read();
        }
    }

    /** Spins on the tailer; the warm-up's stamps are small. */
    private static void receive(String folder, int count) {
        try (ChronicleQueue queue = queue(folder);
                ExcerptTailer tailer = queue.createTailer()) {
            tailer.toStart();
            long[] times = new long[count];
            int seen = 0;
            boolean told = false;
            while (seen < count) {
                try (DocumentContext document = tailer.readingDocument()) {
                    if (document.isPresent()) {
                        long stamp = document.wire().bytes().readLong();
                        if (stamp > WORDS) times[seen++] = System.nanoTime() - stamp;
                    }
                }
                if (!told) {
                    told = true;
                    System.out.println("ready");
                }
            }
            Arrays.sort(times);
            System.out.printf(
                    java.util.Locale.ROOT,
                    "{\"p50\":%d,\"p99\":%d,\"min\":%d}%n",
                    at(times, 0.5), at(times, 0.99), times[0]);
        }
    }

    private static void bench(String folder, int count, int warm) {
        try (ChronicleQueue queue = queue(folder);
                ExcerptAppender appender = queue.createAppender()) {
            for (int number = 0; number < warm; number++) append(appender, number);
            long[] empty = new long[count];
            for (int number = 0; number < count; number++) {
                long start = System.nanoTime();
                empty[number] = System.nanoTime() - start;
            }
            long[] times = new long[count];
            for (int number = 0; number < count; number++) {
                long start = System.nanoTime();
                append(appender, number);
                times[number] = System.nanoTime() - start;
            }
            double batch = Double.MAX_VALUE;
            for (int round = 0; round < 3 * count / BURST; round++) {
                long start = System.nanoTime();
                for (int number = 0; number < BURST; number++) append(appender, number);
                batch = Math.min(batch, (System.nanoTime() - start) / (double) BURST);
            }
            double read = Double.MAX_VALUE;
            long sum = 0;
            for (int round = 0; round < 3; round++) {
                try (ExcerptTailer tailer = queue.createTailer()) {
                    tailer.toStart();
                    int records = 0;
                    long start = System.nanoTime();
                    while (true) {
                        try (DocumentContext document = tailer.readingDocument()) {
                            if (!document.isPresent()) break;
                            Bytes<?> bytes = document.wire().bytes();
                            for (int word = 0; word < WORDS; word++) sum += bytes.readLong();
                        }
                        if (++records == BURST) {
                            read = Math.min(read, (System.nanoTime() - start) / (double) BURST);
                            records = 0;
                            start = System.nanoTime();
                        }
                    }
                }
            }
            Arrays.sort(empty);
            Arrays.sort(times);
            System.out.printf(
                    java.util.Locale.ROOT,
                    "{\"control\":%d,\"p50\":%d,\"p99\":%d,\"p999\":%d,\"max\":%d,\"batch\":%.2f,\"read\":%.2f,\"sum\":%d}%n",
                    at(empty, 0.5), at(times, 0.5), at(times, 0.99), at(times, 0.999), times[count - 1], batch, read, sum);
        }
    }

    private static void append(ExcerptAppender appender, long number) {
        try (DocumentContext document = appender.writingDocument()) {
            Bytes<?> bytes = document.wire().bytes();
            for (int word = 0; word < WORDS; word++) bytes.writeLong(number + word);
        }
    }

    private static long at(long[] sorted, double share) {
        return sorted[Math.min(sorted.length - 1, (int) (sorted.length * share))];
    }
}
