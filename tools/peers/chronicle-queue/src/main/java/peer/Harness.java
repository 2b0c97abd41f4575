package peer;

import java.util.Arrays;
import net.openhft.chronicle.bytes.Bytes;
import net.openhft.chronicle.queue.ChronicleQueue;
import net.openhft.chronicle.queue.ExcerptAppender;
import net.openhft.chronicle.queue.ExcerptTailer;
import net.openhft.chronicle.queue.impl.single.SingleChronicleQueueBuilder;
import net.openhft.chronicle.wire.DocumentContext;

/** Appends and reads 64-byte records; prints one JSON object. Arguments: folder, records, records of the warm-up. */
public final class Harness {
    private static final int WORDS = 8;

    public static void main(String[] arguments) {
        int count = Integer.parseInt(arguments[1]);
        int warm = Integer.parseInt(arguments[2]);
        try (ChronicleQueue queue =
                        SingleChronicleQueueBuilder.binary(arguments[0]).blockSize(256 << 20).build();
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
            for (int round = 0; round < 3; round++) {
                long start = System.nanoTime();
                for (int number = 0; number < count; number++) append(appender, number);
                batch = Math.min(batch, (System.nanoTime() - start) / (double) count);
            }
            double read = Double.MAX_VALUE;
            long sum = 0;
            for (int round = 0; round < 3; round++) {
                try (ExcerptTailer tailer = queue.createTailer()) {
                    tailer.toStart();
                    long records = 0;
                    long start = System.nanoTime();
                    while (true) {
                        try (DocumentContext document = tailer.readingDocument()) {
                            if (!document.isPresent()) break;
                            Bytes<?> bytes = document.wire().bytes();
                            for (int word = 0; word < WORDS; word++) sum += bytes.readLong();
                            records++;
                        }
                    }
                    read = Math.min(read, (System.nanoTime() - start) / (double) records);
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
