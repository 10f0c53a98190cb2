package software.amazon.kinesis.multilang.config;

import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.CoordinatorConfig.ClientVersionConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;

/** Sets what system properties core.clientVersionConfig and core.migrateAllEntitiesToLeaseTable say. */
public final class CoreKeys {
    private CoreKeys() {}

    public static Scheduler scheduler(MultiLangDaemonConfiguration file, ShardRecordProcessorFactory processors) {
        MultiLangDaemonConfiguration.ResolvedConfiguration all = file.resolvedConfiguration(processors);
        CoordinatorConfig coordinator = all.getCoordinatorConfig();
        String version = System.getProperty("core.clientVersionConfig");
        if (version != null) {
            coordinator.clientVersionConfig(ClientVersionConfig.valueOf(version));
        }
        coordinator.migrateAllEntitiesToLeaseTable(Boolean.getBoolean("core.migrateAllEntitiesToLeaseTable"));
        return all.build();
    }
}
