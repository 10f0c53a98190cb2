//! Adapters for the worker: AWS or the embedded services, children, clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::app::settings;
use crate::aws::clients::{self, Access, ClientSettings};
use crate::aws::credentials::{self, CredentialsContext, StsSettings};
use crate::aws::dynamodb::{DynamoDbLeaseStore, TableSettings};
use crate::aws::fanout::{KinesisFanOut, NewConnections};
use crate::aws::http::{HttpPools, HttpSettings};
use crate::aws::kinesis::{KinesisStream, StreamRef};
use crate::aws::metadata::{Metadata, MetadataTables};
use crate::aws::platform::{self, Platform, PlatformSettings};
use crate::aws::probe::Probe;
use crate::child::{ChildFactory, ChildSettings, Identity};
use crate::config::credentials::ProviderChain;
use crate::config::retrieval_mode::RetrievalMode;
use crate::config::{DaemonConfig, ServiceEndpoint};
use crate::core::ids::WorkerId;
use crate::fetch::{Budget, FetcherPorts, Registration, Retrieval};
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::environment::Environment;
use crate::os::process::Launcher;
use crate::os::tasks::{RuntimeThread, TaskGroup};
use crate::ports::{
    Clock, CoordinatorStore, EnhancedFanOut, Entropy, LeaseStore, Stream, WorkerMetricsStore,
};
use crate::worker::consumer::ConsumerPorts;
use crate::worker::coordinator::CoordinatorPorts;
use crate::worker::counting::{Calls, Counted};
use crate::worker::keeper::KeeperPorts;
use crate::worker::leadership::LeadershipPorts;
use crate::worker::reporter::ReportPorts;

/// The longest a call of the coordinator to DynamoDB may take.
const COORDINATOR_CALL: Duration = Duration::from_secs(10);
/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The longest that a call waits for credentials; each provider has a limit of its own.
const CREDENTIALS: Duration = Duration::from_secs(30);

/// Everything the worker needs.
pub struct Wiring {
    /// The ports.
    pub ports: CoordinatorPorts,
    /// How often DynamoDB was called.
    pub calls: Arc<Calls>,
    /// The renewal thread, which ends with this.
    pub _renewals: RuntimeThread,
}

/// What children are started with.
pub struct Children {
    /// Starts them.
    pub launcher: Launcher,
    /// Their working directory.
    pub cwd: PathBuf,
}

/// Where the services are.
pub(super) enum Place {
    Aws,
    #[cfg(feature = "local")]
    Embedded(Arc<crate::local::LocalAws>),
}

/// Builds the adapters. `helpers` gets what runs beside the worker: the feed of `--local`.
///
/// # Errors
/// One sentence: no region, certificates that cannot be read, no thread.
pub async fn wire(
    config: &DaemonConfig,
    environment: &Environment,
    me: &WorkerId,
    children: &Children,
    helpers: &mut TaskGroup<()>,
) -> Result<Wiring, String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let place = place(config, &clock, helpers)?;
    let renewals = RuntimeThread::start("lease-renewal").map_err(|error| error.to_string())?;

    let failover = config.leases.failover_time;
    let main = Connections::new(&place, config, environment, CONNECT, &clock).await?;
    let subscriptions = ways(&place, environment, CONNECT)?;
    let ((stream, fan_out), store) = tokio::try_join!(
        main.stream(config, subscriptions, &clock),
        main.store(
            config,
            COORDINATOR_CALL.min(failover.max(Duration::from_secs(2))),
            &clock
        )
    )?;
    // Connections belong to the runtime that made them, so renewals have their own.
    // A connection that fails within half of a call's limit certainly carried nothing (I.7).
    let own = Connections::new(
        &place,
        config,
        environment,
        CONNECT.min(failover / 6),
        &clock,
    )
    .await?;
    let renewal_store = own.store(config, failover / 3, &clock).await?;
    let coordination = own.metadata(config, failover / 3).await?;
    let metrics = main.metadata(config, COORDINATOR_CALL).await?;

    let calls: Arc<Calls> = Arc::default();
    let counted =
        |store| -> Arc<dyn LeaseStore> { Arc::new(Counted::new(store, Arc::clone(&calls))) };
    let (store, renewal_store) = (counted(store), counted(renewal_store));
    let coordination: Arc<dyn CoordinatorStore> = Arc::new(coordination);
    let metrics: Arc<dyn WorkerMetricsStore> = Arc::new(metrics);

    let identity = Identity {
        stream: config.identity.stream.name.clone(),
        application: config.identity.application_name.clone(),
        worker: me.clone(),
    };
    let processors = ChildFactory::new(
        ChildSettings {
            path: environment.get_os("PATH").map(Into::into),
            dialect: settings::dialect(config),
            timeout: config.child.message_timeout,
            ..ChildSettings::new(config.child.executable.clone(), &children.cwd, identity)
        },
        children.launcher.clone(),
        Arc::clone(&clock),
    );
    let budget = usize::try_from(config.retrieval.prefetch.budget_bytes).unwrap_or(usize::MAX);
    let retrieval = match config.retrieval.choice.mode {
        RetrievalMode::Polling => Retrieval::Polling,
        RetrievalMode::Fanout => Retrieval::FanOut(Arc::new(Registration::new(
            fan_out,
            Arc::clone(&stream),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            settings::registration(config),
        ))),
    };
    Ok(Wiring {
        ports: CoordinatorPorts {
            keeper: KeeperPorts {
                store: renewal_store,
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                spawner: renewals.spawner(),
                style: Arc::default(),
            },
            coordination: LeadershipPorts {
                store: Arc::new(Counted::new(coordination, Arc::clone(&calls))),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                spawner: renewals.spawner(),
            },
            report: ReportPorts {
                store: Arc::new(Counted::new(metrics, Arc::clone(&calls))),
                probe: Arc::new(probe(environment, &clock)?),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
            },
            consumer: ConsumerPorts {
                store,
                processors: Arc::new(processors),
                fetcher: FetcherPorts {
                    stream,
                    retrieval,
                    clock,
                    entropy,
                    budget: Budget::new(budget),
                },
            },
        },
        calls,
        _renewals: renewals,
    })
}

/// Measures how busy the host or container is.
fn probe(environment: &Environment, clock: &Arc<dyn Clock>) -> Result<Platform, String> {
    let variable = |name: &str| environment.get(name).map(str::to_owned);
    // Link-local addresses: no proxy, no certificates; a connection of its own.
    let http = HttpPools::new(HttpSettings::from_environment(CONNECT, |_| None))
        .map_err(|error| error.to_string())?
        .client();
    let disabled = variable("AWS_EC2_METADATA_DISABLED");
    let settings = PlatformSettings {
        ecs_v4: variable("ECS_CONTAINER_METADATA_URI_V4"),
        ecs_v3: variable("ECS_CONTAINER_METADATA_URI").is_some(),
        ask_instance: !disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")),
        root: platform::root(),
    };
    Ok(Platform::new(settings, http, Arc::clone(clock)))
}

/// Finds the services, or makes the embedded ones.
#[cfg(not(feature = "local"))]
pub(super) fn place(
    config: &DaemonConfig,
    _: &Arc<dyn Clock>,
    _: &mut TaskGroup<()>,
) -> Result<Place, String> {
    if config.local.enabled {
        return Err(
            "this build of kcl-daemon has no embedded services (feature 'local')".to_owned(),
        );
    }
    Ok(Place::Aws)
}

/// Finds the services, or makes the embedded ones.
#[cfg(feature = "local")]
pub(super) fn place(
    config: &DaemonConfig,
    clock: &Arc<dyn Clock>,
    helpers: &mut TaskGroup<()>,
) -> Result<Place, String> {
    use crate::local::kinesis::Options;
    use crate::local::{Feed, LocalAws, create_stream, feed};
    use tracing::{error, info};

    if !config.local.enabled {
        return Ok(Place::Aws);
    }
    let stream = config.identity.stream.name.clone();
    let shards = config.local.shards;
    // Whoever asks for more shards than an account has at first has had the limit raised.
    let mut options = Options::default();
    options.shard_limit = options.shard_limit.max(shards as usize);
    let local = LocalAws::new(options, Arc::clone(clock)).map_err(|error| error.to_string())?;
    let local = Arc::new(local);
    create_stream(&local, &stream, shards).map_err(|error| error.to_string())?;
    info!(
        "--local: an embedded Kinesis with the stream '{stream}' ({shards} shards) and an embedded DynamoDB; \
           both are gone when the daemon ends"
    );
    let source = match (&config.local.input, config.local.generate) {
        (Some(name), _) if name == "-" => Some(Feed::Stdin),
        (Some(name), _) => Some(Feed::File(name.into())),
        (None, Some(rate)) if rate > 0.0 => Some(Feed::Generate(rate)),
        (None, _) => None,
    };
    match &source {
        Some(Feed::Generate(rate)) => info!("--local: making up {rate} records a second"),
        Some(Feed::Stdin) => info!("--local: each line of STDIN becomes a record"),
        Some(Feed::File(path)) => {
            info!("--local: each line of {} becomes a record", path.display())
        }
        None => info!(
            "--local: the stream stays empty (--local-generate RATE or --local-input FILE fills it)"
        ),
    }
    if let Some(source) = source {
        let (local, clock) = (Arc::clone(&local), Arc::clone(clock));
        helpers.spawn(async move {
            if let Err(problem) = feed(local, clock, stream, source).await {
                error!("--local: {problem}");
            }
        });
    }
    Ok(Place::Embedded(local))
}

/// The way to the services.
pub(super) fn http(
    place: &Place,
    environment: &Environment,
    connect: Duration,
) -> Result<SharedHttpClient, String> {
    Ok(ways(place, environment, connect)?())
}

/// Ways to the services, each with connections of its own.
fn ways(
    place: &Place,
    environment: &Environment,
    connect: Duration,
) -> Result<Arc<NewConnections>, String> {
    match place {
        #[cfg(feature = "local")]
        Place::Embedded(local) => {
            let http = crate::local::http_client(local);
            Ok(Arc::new(move || http.clone()))
        }
        Place::Aws => {
            let variable = |name: &str| environment.get(name).map(str::to_owned);
            let pools = HttpPools::new(HttpSettings::from_environment(connect, variable))
                .map_err(|error| error.to_string())?;
            Ok(Arc::new(move || pools.client()))
        }
    }
}

/// What the clients of one runtime share.
pub(super) struct Connections {
    kinesis: Access,
    dynamodb: Access,
    embedded: bool,
}

impl Connections {
    async fn new(
        place: &Place,
        config: &DaemonConfig,
        environment: &Environment,
        connect: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let http = http(place, environment, connect)?;
        Ok(Self::over(place, config, environment, http, clock).await)
    }

    /// Connections made by this client.
    pub(super) async fn over(
        place: &Place,
        config: &DaemonConfig,
        environment: &Environment,
        http: SharedHttpClient,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        match place {
            #[cfg(feature = "local")]
            Place::Embedded(_) => {
                let access = Access::new(http, credentials::fixed("local", "local"), CREDENTIALS);
                Self {
                    kinesis: access.clone(),
                    dynamodb: access,
                    embedded: true,
                }
            }
            Place::Aws => {
                let context = credentials_context(config, http, environment, clock);
                let kinesis = access(&config.credentials.kinesis, &context).await;
                let dynamodb = if config.credentials.dynamodb == config.credentials.kinesis {
                    kinesis.clone()
                } else {
                    access(&config.credentials.dynamodb, &context).await
                };
                Self {
                    kinesis,
                    dynamodb,
                    embedded: false,
                }
            }
        }
    }

    fn settings(&self, endpoint: &ServiceEndpoint, call_timeout: Duration) -> ClientSettings {
        if self.embedded {
            return ClientSettings {
                region: Some("us-east-1".to_owned()),
                endpoint: Some("http://embedded.localhost".to_owned()),
                fips: Some(false),
                dual_stack: Some(false),
                call_timeout,
            };
        }
        ClientSettings {
            region: endpoint.region.clone(),
            endpoint: endpoint.endpoint.clone(),
            fips: endpoint.fips,
            dual_stack: endpoint.dualstack,
            call_timeout,
        }
    }

    async fn stream(
        &self,
        config: &DaemonConfig,
        subscriptions: Arc<NewConnections>,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Arc<dyn Stream>, Arc<dyn EnhancedFanOut>), String> {
        let settings = self.settings(&config.endpoints.kinesis, config.retrieval.request_timeout);
        let client = clients::kinesis(&settings, &self.kinesis)
            .await
            .map_err(|error| format!("Kinesis: {error}"))?;
        let reference = self.reference(config);
        let fan_out = KinesisFanOut::new(client.clone(), reference.clone(), subscriptions);
        let stream = KinesisStream::new(client, reference).compare_clocks(Arc::clone(clock));
        Ok((Arc::new(stream), Arc::new(fan_out)))
    }

    fn reference(&self, config: &DaemonConfig) -> StreamRef {
        let stream = &config.identity.stream;
        let name = stream.name.clone();
        match &stream.arn {
            Some(arn) if !self.embedded => StreamRef::Arn {
                arn: arn.to_string(),
                name,
            },
            _ => StreamRef::Name(name),
        }
    }

    /// The same ways, for looking only; every call ends within `call_timeout`.
    pub(super) async fn probe(
        &self,
        config: &DaemonConfig,
        call_timeout: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Probe, String> {
        let settings = self.settings(&config.endpoints.kinesis, call_timeout);
        let kinesis = clients::kinesis(&settings, &self.kinesis)
            .await
            .map_err(|error| format!("Kinesis: {error}"))?;
        let settings = self.settings(&config.endpoints.dynamodb, call_timeout);
        let dynamodb = clients::dynamodb(&settings, &self.dynamodb)
            .await
            .map_err(|error| format!("DynamoDB: {error}"))?;
        let reference = self.reference(config);
        Ok(Probe {
            stream: Arc::new(KinesisStream::new(kinesis.clone(), reference.clone())),
            store: self.store(config, call_timeout, clock).await?,
            kinesis,
            reference,
            dynamodb,
        })
    }

    async fn store(
        &self,
        config: &DaemonConfig,
        call_timeout: Duration,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn LeaseStore>, String> {
        let settings = self.settings(&config.endpoints.dynamodb, call_timeout);
        let client = clients::dynamodb(&settings, &self.dynamodb)
            .await
            .map_err(|error| format!("DynamoDB: {error}"))?;
        let table = TableSettings {
            name: config.identity.lease_table.clone(),
            legacy_coordinator: config.coordinator_state_table.name.clone(),
            deletion_protection: config.leases.deletion_protection,
            scan_segments: config.leases.scan_segments,
            point_in_time_recovery: config.leases.point_in_time_recovery,
        };
        Ok(Arc::new(DynamoDbLeaseStore::new(
            client,
            table,
            Arc::clone(clock),
        )))
    }
}

impl Connections {
    async fn metadata(
        &self,
        config: &DaemonConfig,
        call_timeout: Duration,
    ) -> Result<Metadata, String> {
        let settings = self.settings(&config.endpoints.dynamodb, call_timeout);
        let client = clients::dynamodb(&settings, &self.dynamodb)
            .await
            .map_err(|error| format!("DynamoDB: {error}"))?;
        Ok(Metadata::new(
            client,
            MetadataTables {
                lease: config.identity.lease_table.clone(),
                legacy_coordinator: config.coordinator_state_table.name.clone(),
                legacy_metrics: config.worker_metrics_table.name.clone(),
            },
        ))
    }
}

/// What providers of credentials are made with.
pub(super) fn credentials_context(
    config: &DaemonConfig,
    http: SharedHttpClient,
    environment: &Environment,
    clock: &Arc<dyn Clock>,
) -> CredentialsContext {
    let sts = &config.endpoints.sts;
    CredentialsContext {
        http,
        clock: Arc::clone(clock),
        region: config.endpoints.kinesis.region.clone(),
        sts: StsSettings {
            region: sts.region.clone(),
            endpoint: sts.endpoint.clone(),
        },
        application: config.identity.application_name.clone(),
        environment: environment
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        system_properties: environment
            .system_properties()
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    }
}

async fn access(chain: &ProviderChain, context: &CredentialsContext) -> Access {
    Access::new(
        context.http.clone(),
        credentials::build(chain, context).await,
        CREDENTIALS,
    )
}
