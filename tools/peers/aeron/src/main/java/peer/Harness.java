package peer;

import io.aeron.Aeron;
import io.aeron.Publication;
import io.aeron.Subscription;
import io.aeron.driver.MediaDriver;
import io.aeron.driver.ThreadingMode;
import io.aeron.logbuffer.FragmentHandler;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import org.agrona.concurrent.SleepingMillisIdleStrategy;
import org.agrona.concurrent.UnsafeBuffer;

/**
 * Offers and polls 64-byte messages over IPC; prints one JSON object. Arguments: bench FOLDER RECORDS WARM, or send
 * FOLDER RECORDS RATE READERS (embeds the media driver), or receive FOLDER RECORDS.
 */
public final class Harness {
    private static final String CHANNEL = "aeron:ipc?term-length=64m";
    private static final int STREAM = 10;
    private static final int BURST = 1_000;
    private static final int WARM = 200_000;

    public static void main(String[] arguments) throws Exception {
        int count = Integer.parseInt(arguments[2]);
        switch (arguments[0]) {
            case "bench" -> bench(arguments[1], count, Integer.parseInt(arguments[3]));
            case "send" -> send(arguments[1], count, Long.parseLong(arguments[3]), Integer.parseInt(arguments[4]));
            default -> receive(arguments[1], count);
        }
    }

    private static MediaDriver driver(String folder) {
        return MediaDriver.launchEmbedded(
                new MediaDriver.Context()
                        .aeronDirectoryName(folder)
                        .dirDeleteOnStart(true)
                        .threadingMode(ThreadingMode.SHARED)
                        .sharedIdleStrategy(new SleepingMillisIdleStrategy(1)));
    }

    /** One thread offers a burst and polls it away, so that neither waits for the other. */
    private static void bench(String folder, int count, int warm) {
        try (MediaDriver driver = driver(folder);
                Aeron aeron = Aeron.connect(new Aeron.Context().aeronDirectoryName(folder));
                Publication publication = aeron.addExclusivePublication(CHANNEL, STREAM);
                Subscription subscription = aeron.addSubscription(CHANNEL, STREAM)) {
            while (!publication.isConnected()) Thread.onSpinWait();
            UnsafeBuffer buffer = new UnsafeBuffer(new byte[64]);
            long[] sum = new long[1];
            FragmentHandler handler = (data, offset, length, header) -> {
                for (int word = 0; word < length; word += 8) sum[0] += data.getLong(offset + word);
            };
            long[] times = new long[count];
            long[] empty = new long[count];
            double batch = Double.MAX_VALUE;
            double read = Double.MAX_VALUE;
            for (int round = 0; round * BURST < warm; round++) burst(publication, subscription, buffer, handler);
            for (int number = 0; number < count; number++) {
                long start = System.nanoTime();
                empty[number] = System.nanoTime() - start;
            }
            for (int number = 0; number < count; number++) {
                buffer.putLong(0, number);
                long start = System.nanoTime();
                offer(publication, buffer);
                times[number] = System.nanoTime() - start;
                if (number % BURST == BURST - 1) drain(subscription, handler, BURST);
            }
            drain(subscription, handler, count % BURST);
            for (int round = 0; round < 3 * count / BURST; round++) {
                long start = System.nanoTime();
                for (int number = 0; number < BURST; number++) offer(publication, buffer);
                long between = System.nanoTime();
                drain(subscription, handler, BURST);
                batch = Math.min(batch, (between - start) / (double) BURST);
                read = Math.min(read, (System.nanoTime() - between) / (double) BURST);
            }
            Arrays.sort(times);
            Arrays.sort(empty);
            System.out.printf(
                    Locale.ROOT,
                    "{\"control\":%d,\"p50\":%d,\"p99\":%d,\"p999\":%d,\"max\":%d,\"batch\":%.2f,\"read\":%.2f,\"sum\":%d}%n",
                    at(empty, 0.5), at(times, 0.5), at(times, 0.99), at(times, 0.999), times[count - 1], batch, read,
                    sum[0]);
        }
    }

    private static void burst(
            Publication publication, Subscription subscription, UnsafeBuffer buffer, FragmentHandler handler) {
        for (int number = 0; number < BURST; number++) offer(publication, buffer);
        drain(subscription, handler, BURST);
    }

    private static void offer(Publication publication, UnsafeBuffer buffer) {
        while (publication.offer(buffer, 0, 64) < 0) Thread.onSpinWait();
    }

    private static void drain(Subscription subscription, FragmentHandler handler, int count) {
        int seen = 0;
        while (seen < count) seen += subscription.poll(handler, 256);
    }

    /** Sends the warm-up with stamp 0, then `count` messages stamped right before their offer. */
    private static void send(String folder, int count, long rate, int readers) throws Exception {
        try (MediaDriver driver = driver(folder);
                Aeron aeron = Aeron.connect(new Aeron.Context().aeronDirectoryName(folder));
                Publication publication = aeron.addExclusivePublication(CHANNEL, STREAM)) {
            System.out.println("ready");
            System.in.read();
            UnsafeBuffer buffer = new UnsafeBuffer(new byte[64]);
            for (int number = 0; number < WARM; number++) offer(publication, buffer);
            Thread.sleep(500);
            long pause = TimeUnit.SECONDS.toNanos(1) / rate;
            long start = System.nanoTime();
            long due = start;
            for (int number = 0; number < count; number++) {
                due += pause;
                long now = System.nanoTime();
                while (now < due) now = System.nanoTime();
                buffer.putLong(0, now);
                offer(publication, buffer);
            }
            System.out.printf(Locale.ROOT, "{\"sent\":%.1f}%n", count * 1e9 / (System.nanoTime() - start));
            System.in.read();
        }
    }

    private static void receive(String folder, int count) throws Exception {
        try (Aeron aeron = Aeron.connect(new Aeron.Context().aeronDirectoryName(folder));
                Subscription subscription = aeron.addSubscription(CHANNEL, STREAM)) {
            while (!subscription.isConnected()) Thread.onSpinWait();
            System.out.println("ready");
            long[] times = new long[count];
            int[] seen = new int[1];
            FragmentHandler handler = (data, offset, length, header) -> {
                long stamp = data.getLong(offset);
                if (stamp != 0) times[seen[0]++] = System.nanoTime() - stamp;
            };
            while (seen[0] < count) subscription.poll(handler, 1);
            Arrays.sort(times);
            System.out.printf(
                    Locale.ROOT, "{\"p50\":%d,\"p99\":%d,\"min\":%d}%n", at(times, 0.5), at(times, 0.99), times[0]);
        }
    }

    private static long at(long[] sorted, double share) {
        return sorted[Math.min(sorted.length - 1, (int) (sorted.length * share))];
    }
}
