import org.apache.logging.log4j.LogManager;
import org.slf4j.LoggerFactory;

/**
 * Logs numbered lines (see tests/support/ledger.rs) with log4j2 or logback, which a file given as a system property
 * sets up. Arguments: log4j2 or logback, the tag, how many lines.
 */
public final class Logging {
    public static void main(String[] arguments) throws InterruptedException {
        String tag = arguments[1];
        int count = Integer.parseInt(arguments[2]);
        if (arguments[0].equals("log4j2")) {
            org.apache.logging.log4j.Logger logger = LogManager.getLogger("test");
            for (int number = 0; number < count; number++) {
                logger.info(line(tag, number));
            }
            LogManager.shutdown();
        } else {
            org.slf4j.Logger logger = LoggerFactory.getLogger("test");
            for (int number = 0; number < count; number++) {
                logger.info(line(tag, number));
            }
            ((ch.qos.logback.classic.LoggerContext) LoggerFactory.getILoggerFactory()).stop();
        }
    }

    private static String line(String tag, int number) throws InterruptedException {
        if (number % 10 == 9) {
            Thread.sleep(5);
        }
        int filling = number * 37 % 150;
        return tag + " " + number + " " + filling + " " + "x".repeat(filling);
    }
}
