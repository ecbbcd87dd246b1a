import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/**
 * Prints which partition the Java client chooses for a thousand keys: a line for each, of the key in
 * hexadecimal ("-" is the empty key) and the partitions. The seed is fixed, so the output is always the same.
 *
 *     scripts/kafka.sh get
 *     java -cp 'target/kafka/dist/4.3.1/lib/*' tests/vectors/Partitions.java > tests/vectors/partitions.txt
 */
public class Partitions {
    private static final int[] COUNTS = {1, 2, 3, 6, 7, 12, 50, 97, 1000, 65536};

    public static void main(String[] arguments) {
        List<byte[]> keys = new ArrayList<>();
        for (String text : new String[] {
            "", "\0", "a", "web-1", "grüße", "日本語のキー", "🦀🦀", "Ж", "\u00ff", "key with blanks ", "/var/log/app.log",
        }) {
            keys.add(text.getBytes(StandardCharsets.UTF_8));
        }
        Random random = new Random(20260101);
        // Every length from 0 to 70, so that each remainder of the division by 4 comes often.
        for (int length = 1; length <= 70; length++) {
            keys.add(bytes(random, length));
        }
        while (keys.size() < 1000) {
            boolean isText = random.nextBoolean();
            int length = random.nextInt(10) == 0 ? 64 + random.nextInt(200) : 2 + random.nextInt(62);
            keys.add(isText ? text(random, length) : bytes(random, length));
        }
        String counts = IntStream.of(COUNTS).mapToObj(String::valueOf).collect(Collectors.joining(" "));
        System.out.println("counts " + counts);
        for (byte[] key : keys) {
            String hex = key.length == 0 ? "-" : HexFormat.of().formatHex(key);
            String partitions = IntStream.of(COUNTS)
                    .map(count -> BuiltInPartitioner.partitionForKey(key, count))
                    .mapToObj(String::valueOf)
                    .collect(Collectors.joining(" "));
            System.out.println(hex + " " + partitions);
        }
    }

    private static byte[] bytes(Random random, int length) {
        byte[] bytes = new byte[length];
        random.nextBytes(bytes);
        return bytes;
    }

    private static byte[] text(Random random, int length) {
        String letters = "abcdefghijklmnopqrstuvwxyz0123456789-_./:äöüßéЖя日本🦀";
        int[] points = letters.codePoints().toArray();
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            text.appendCodePoint(points[random.nextInt(points.length)]);
        }
        return text.toString().getBytes(StandardCharsets.UTF_8);
    }
}
