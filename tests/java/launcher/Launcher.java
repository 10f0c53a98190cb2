package software.amazon.kinesis.multilang;

import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.multilang.config.CoreKeys;

/**
 * Java's daemon as it is, except for keys that the core of 3.5 has and the published daemon of 3.1.3 does not
 * read from its file; see CoreKeys. Arguments: --properties-file FILE. It is in the daemon's own package because
 * the parts it puts together are visible there only.
 */
public final class Launcher extends MultiLangDaemon {
    @Override
    Scheduler buildScheduler(MultiLangDaemonConfig config) {
        return CoreKeys.scheduler(config.getMultiLangDaemonConfiguration(), config.getRecordProcessorFactory());
    }

    public static void main(String[] arguments) {
        Launcher daemon = new Launcher();
        int code = 1;
        try {
            MultiLangDaemonConfig config = daemon.buildMultiLangDaemonConfig(arguments[1]);
            MultiLangRunner runner = new MultiLangRunner(daemon.buildScheduler(config));
            daemon.setupShutdownHook(Runtime.getRuntime(), runner, config);
            code = daemon.submitRunnerAndWait(config, runner);
        } catch (Throwable failure) {
            failure.printStackTrace();
        }
        daemon.exit(code);
    }
}
