// Writes golden.json: runs of Java KCL's own leader on made-up fleets, for src/core/assignment.
//
//   shared/tools/kcl-jars.sh 3.5.1 JARS
//   javac -cp 'JARS/*' -d OUT GoldenRuns.java
//   java -cp 'OUT:JARS/*' software.amazon.kinesis.coordinator.assignment.GoldenRuns golden.json
//
// The fleets are drawn with a fixed seed and avoid what Java decides by the order of its maps or by
// chance: no two workers have equal room, and all leases of one owner deliver the same, so that it
// does not matter which of them is picked. What is compared is how many leases go from whom to whom, and how.
// Each fleet is looked at twice, 30 s apart, so that leases whose counter stands still are expired.
package software.amazon.kinesis.coordinator.assignment;

import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.StringJoiner;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.atomic.AtomicLong;

import software.amazon.kinesis.coordinator.LeaderDecider;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.LeaseAssignmentStrategy;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.leases.LeaseRefresher;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;
import software.amazon.kinesis.worker.metricstats.WorkerMetricStats;

public final class GoldenRuns {
    static final Random RANDOM = new Random(35);

    static final class Row {
        String key, owner, leaving;
        Double throughput;
        boolean finished, silent;
    }

    static final class Player {
        String id;
        Map<String, List<Double>> stats = new TreeMap<>();
        Map<String, List<Long>> ranges = new TreeMap<>();
    }

    static final class Fleet {
        String name;
        List<Player> workers = new ArrayList<>();
        List<Row> leases = new ArrayList<>();
        int dampening = 60, threshold = 10, maxLeases = Integer.MAX_VALUE;
        double maxThroughput = Double.MAX_VALUE;
        boolean overshoot = true, handOff = true;
        LeaseAssignmentStrategy strategy = LeaseAssignmentStrategy.WORKER_UTILIZATION_AWARE;
    }

    static double between(double low, double high) {
        return Math.round((low + RANDOM.nextDouble() * (high - low)) * 100) / 100.0;
    }

    static Player worker(Fleet fleet, String id) {
        Player player = new Player();
        player.id = id;
        fleet.workers.add(player);
        return player;
    }

    static Player busy(Fleet fleet, String id, String metric, double low, double high, long limit) {
        Player player = worker(fleet, id);
        return busy(player, metric, low, high, limit);
    }

    static Player busy(Player player, String metric, double low, double high, long limit) {
        double level = between(low, high);
        List<Double> values = new ArrayList<>();
        for (int i = 0; i < 1 + RANDOM.nextInt(4); i++) {
            values.add(Math.round((level + RANDOM.nextDouble()) * 100) / 100.0);
        }
        player.stats.put(metric, values);
        player.ranges.put(metric, Arrays.asList(limit));
        return player;
    }

    static void leases(Fleet fleet, String owner, int count, Double throughput) {
        for (int i = 0; i < count; i++) {
            Row row = new Row();
            row.key = String.format("s%03d", fleet.leases.size());
            row.owner = owner;
            row.throughput = throughput;
            fleet.leases.add(row);
        }
    }

    static Row last(Fleet fleet) {
        return fleet.leases.get(fleet.leases.size() - 1);
    }

    static Lease lease(Row row, boolean second) {
        Lease lease = new Lease();
        lease.leaseKey(row.key);
        lease.leaseOwner(row.owner);
        lease.checkpointOwner(row.leaving);
        lease.leaseCounter(second && !row.silent && row.owner != null ? 8L : 7L);
        lease.checkpoint(row.finished ? ExtendedSequenceNumber.SHARD_END : ExtendedSequenceNumber.TRIM_HORIZON);
        lease.ownerSwitchesSinceCheckpoint(0L);
        if (row.throughput != null) {
            lease.throughputKBps(row.throughput);
        }
        return lease;
    }

    static LAMDataSnapshot snapshot(Fleet fleet, boolean second) {
        List<Lease> leases = new ArrayList<>();
        for (Row row : fleet.leases) {
            leases.add(lease(row, second));
        }
        List<WorkerMetricStats> workers = new ArrayList<>();
        for (Player player : fleet.workers) {
            workers.add(WorkerMetricStats.LegacyWorkerMetricStats.builder()
                    .workerId(player.id)
                    .metricStats(player.stats)
                    .operatingRange(player.ranges)
                    .lastUpdateTime(System.currentTimeMillis() / 1000)
                    .build());
        }
        return LAMDataSnapshot.builder().leases(leases).workerMetricStats(workers)
                .leaseDeserializationFailures(new ArrayList<>()).build();
    }

    static Map<String, Integer> run(Fleet fleet) throws Exception {
        Map<String, Integer> moves = new ConcurrentHashMap<>();
        LeaseRefresher refresher = (LeaseRefresher) Proxy.newProxyInstance(
                GoldenRuns.class.getClassLoader(), new Class<?>[] {LeaseRefresher.class}, (proxy, method, args) -> {
                    String how = method.getName().equals("assignLease") ? "assign"
                            : method.getName().equals("initiateGracefulLeaseHandoff") ? "hand off" : null;
                    if (how == null) {
                        throw new IllegalStateException(method.getName());
                    }
                    Lease lease = (Lease) args[0];
                    moves.merge(lease.actualOwner() + "|" + args[1] + "|" + how, 1, Integer::sum);
                    return true;
                });
        LeaderDecider leader = (LeaderDecider) Proxy.newProxyInstance(
                GoldenRuns.class.getClassLoader(), new Class<?>[] {LeaderDecider.class},
                (proxy, method, args) -> method.getReturnType() == Boolean.class ? true : null);
        boolean[] second = {false};
        LAMDataManager data = (LAMDataManager) Proxy.newProxyInstance(
                GoldenRuns.class.getClassLoader(), new Class<?>[] {LAMDataManager.class},
                (proxy, method, args) -> method.getName().equals("loadData") ? snapshot(fleet, second[0]) : null);
        LeaseManagementConfig.WorkerUtilizationAwareAssignmentConfig config =
                new LeaseManagementConfig.WorkerUtilizationAwareAssignmentConfig()
                        .dampeningPercentage(fleet.dampening)
                        .reBalanceThresholdPercentage(fleet.threshold)
                        .allowThroughputOvershoot(fleet.overshoot)
                        .maxThroughputPerHostKBps(fleet.maxThroughput)
                        .varianceBalancingFrequency(1);
        LeaseManagementConfig.GracefulLeaseHandoffConfig handOff =
                LeaseManagementConfig.GracefulLeaseHandoffConfig.builder()
                        .isGracefulLeaseHandoffEnabled(fleet.handOff).build();
        AtomicLong nanos = new AtomicLong(1_000_000_000_000L);
        ScheduledExecutorService pool = Executors.newScheduledThreadPool(1);
        LeaseAssignmentManager manager = new LeaseAssignmentManager(
                refresher, leader, config, "leader", 10_000L, new NullMetricsFactory(), pool, nanos::get,
                fleet.maxLeases, handOff, fleet.strategy, 20_000L, null, data);
        Method perform = LeaseAssignmentManager.class.getDeclaredMethod("performAssignment");
        perform.setAccessible(true);
        perform.invoke(manager);
        moves.clear();
        second[0] = true;
        nanos.addAndGet(30_000_000_000L);
        perform.invoke(manager);
        pool.shutdownNow();
        return new TreeMap<>(moves);
    }

    static String text(Object value) {
        if (value == null) {
            return "null";
        }
        if (value instanceof Map) {
            StringJoiner all = new StringJoiner(", ", "{", "}");
            ((Map<?, ?>) value).forEach((key, item) -> all.add(text(key) + ": " + text(item)));
            return all.toString();
        }
        if (value instanceof List) {
            StringJoiner all = new StringJoiner(", ", "[", "]");
            ((List<?>) value).forEach(item -> all.add(text(item)));
            return all.toString();
        }
        return value instanceof String ? "\"" + value + "\"" : value.toString();
    }

    static List<Object> facts(Row row) {
        return new ArrayList<>(Arrays.asList(row.owner, row.leaving, row.throughput, row.finished, row.silent));
    }

    static String json(Fleet fleet, Map<String, Integer> moves) {
        StringJoiner workers = new StringJoiner(", ");
        for (Player player : fleet.workers) {
            workers.add("{\"id\": " + text(player.id) + ", \"stats\": " + text(player.stats) + ", \"ranges\": "
                    + text(player.ranges) + "}");
        }
        // Owner, old owner of a hand-off, throughput, finished, silent, and how many like this in a row.
        List<Object> leases = new ArrayList<>();
        for (int i = 0, same = 1; i < fleet.leases.size(); i++, same++) {
            List<Object> row = facts(fleet.leases.get(i));
            boolean more = i + 1 < fleet.leases.size() && row.equals(facts(fleet.leases.get(i + 1)));
            if (!more) {
                row.add(same);
                leases.add(row);
                same = 0;
            }
        }
        List<Object> expected = new ArrayList<>();
        moves.forEach((move, count) -> {
            String[] parts = move.split("\\|");
            expected.add(Arrays.asList(parts[0].equals("null") ? null : parts[0], parts[1], parts[2], count));
        });
        return "  {\"name\": " + text(fleet.name)
                + ", \"by_count\": " + (fleet.strategy == LeaseAssignmentStrategy.LEASE_COUNT_BASED)
                + ", \"dampening\": " + fleet.dampening + ", \"threshold\": " + fleet.threshold
                + ", \"max_leases\": " + (fleet.maxLeases == Integer.MAX_VALUE ? "null" : fleet.maxLeases)
                + ", \"max_throughput\": " + (fleet.maxThroughput == Double.MAX_VALUE ? "null" : fleet.maxThroughput)
                + ", \"overshoot\": " + fleet.overshoot + ", \"hand_off\": " + fleet.handOff
                + ",\n   \"workers\": [" + workers + "],\n   \"leases\": " + text(leases) + ",\n   \"moves\": "
                + text(expected) + "}";
    }

    /** A fleet whose workers measure CPU, each with some leases. */
    static Fleet cpuFleet(String name, int workers) {
        Fleet fleet = new Fleet();
        fleet.name = name;
        for (int w = 0; w < workers; w++) {
            busy(fleet, "w" + w, "C", 25, 90, 100);
            leases(fleet, "w" + w, 2 + RANDOM.nextInt(12), between(80, 900));
        }
        return fleet;
    }

    static List<Fleet> fleets() {
        List<Fleet> all = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            all.add(cpuFleet("cpu " + i, 2 + RANDOM.nextInt(6)));
        }
        for (int i = 0; i < 6; i++) {
            Fleet fleet = cpuFleet("two metrics " + i, 2 + RANDOM.nextInt(4));
            for (Player player : fleet.workers) {
                busy(player, "M", 25, 90, 90);
            }
            all.add(fleet);
        }
        for (int i = 0; i < 8; i++) {
            Fleet fleet = new Fleet();
            fleet.name = "throughput " + i;
            int workers = 2 + RANDOM.nextInt(5);
            for (int w = 0; w < workers; w++) {
                worker(fleet, "w" + w);
                leases(fleet, "w" + w, 1 + RANDOM.nextInt(9), between(100, 900));
            }
            all.add(fleet);
        }
        for (int i = 0; i < 6; i++) {
            Fleet fleet = cpuFleet("unowned leases " + i, 2 + RANDOM.nextInt(4));
            leases(fleet, null, 3 + RANDOM.nextInt(25), null);
            all.add(fleet);
        }
        for (int i = 0; i < 6; i++) {
            Fleet fleet = cpuFleet("a worker is gone " + i, 2 + RANDOM.nextInt(4));
            int from = fleet.leases.size();
            leases(fleet, "gone", 2 + RANDOM.nextInt(12), between(80, 900));
            fleet.leases.subList(from, fleet.leases.size()).forEach(row -> row.silent = true);
            all.add(fleet);
        }
        for (int i = 0; i < 4; i++) {
            Fleet fleet = cpuFleet("a worker has joined " + i, 2 + RANDOM.nextInt(3));
            busy(fleet, "new", "C", 1, 5, 100);
            all.add(fleet);
        }
        for (int i = 0; i < 5; i++) {
            Fleet fleet = cpuFleet("above the operating range " + i, 2 + RANDOM.nextInt(4));
            long limit = 30 + RANDOM.nextInt(30);
            fleet.workers.forEach(player -> player.ranges.put("C", Arrays.asList(limit)));
            all.add(fleet);
        }
        for (int i = 0; i < 5; i++) {
            Fleet fleet = cpuFleet("other settings " + i, 3 + RANDOM.nextInt(3));
            fleet.dampening = 10 + RANDOM.nextInt(90);
            fleet.threshold = RANDOM.nextInt(30);
            fleet.overshoot = RANDOM.nextBoolean();
            fleet.handOff = RANDOM.nextBoolean();
            all.add(fleet);
        }
        for (int i = 0; i < 4; i++) {
            Fleet fleet = cpuFleet("limits " + i, 3);
            leases(fleet, null, 10, null);
            fleet.maxLeases = 6 + RANDOM.nextInt(8);
            fleet.maxThroughput = i < 2 ? Double.MAX_VALUE : between(2000, 5000);
            all.add(fleet);
        }
        for (int i = 0; i < 3; i++) {
            Fleet fleet = cpuFleet("finished leases " + i, 3);
            fleet.leases.forEach(row -> row.finished = row.owner.equals("w0"));
            all.add(fleet);
        }
        for (int i = 0; i < 3; i++) {
            Fleet fleet = cpuFleet("a hand-off whose old owner is gone " + i, 2 + RANDOM.nextInt(3));
            leases(fleet, "w0", 1, between(80, 900));
            last(fleet).leaving = "gone";
            last(fleet).silent = true;
            all.add(fleet);
        }
        for (int i = 0; i < 3; i++) {
            Fleet fleet = cpuFleet("a metric of some " + i, 4);
            busy(fleet.workers.get(1), "M", 30, 80, 100);
            busy(fleet.workers.get(3), "M", 30, 80, 100);
            all.add(fleet);
        }
        for (int i = 0; i < 8; i++) {
            Fleet fleet = new Fleet();
            fleet.name = "by count " + i;
            fleet.strategy = LeaseAssignmentStrategy.LEASE_COUNT_BASED;
            int workers = 2 + RANDOM.nextInt(4);
            for (int w = 0; w < workers; w++) {
                worker(fleet, "w" + w);
                leases(fleet, "w" + w, RANDOM.nextInt(8), between(100, 900));
            }
            if (i % 2 == 0) {
                leases(fleet, null, RANDOM.nextInt(6), null);
            }
            // As many as go round evenly: else Java is less fair than we are.
            while (fleet.leases.isEmpty() || fleet.leases.size() % workers != 0) {
                leases(fleet, "w0", 1, 100.0);
            }
            all.add(fleet);
        }
        return all;
    }

    public static void main(String[] args) throws Exception {
        StringJoiner cases = new StringJoiner(",\n", "[\n", "\n]");
        for (Fleet fleet : fleets()) {
            cases.add(json(fleet, run(fleet)));
        }
        Files.write(Paths.get(args[0]), (cases + "\n").getBytes("UTF-8"));
        System.exit(0);
    }
}
