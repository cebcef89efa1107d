//! Spans for an OpenTelemetry collector, where one is named: OTLP, as protobuf over HTTP.
//!
//! A span is of a batch (an insert, a publishing, a commit) and never of a record. It is made at
//! DEBUG, so that without a collector it costs a look at a flag. Spans gather in a queue with a
//! bound, which drops what does not fit, and a thread of its own sends them: no work ever waits.
//! Those that do not reach the collector are dropped too, and the log says so ([`super::losses`]).

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::losses::{LastFault, Reported};
use crate::config::{Environment, Key};
use crate::http;

/// The target of every span that is exported.
pub const TARGET: &str = "pulse";

/// How long the collector may take over one request.
const SEND_WAIT: Duration = Duration::from_secs(5);

/// The largest answer that is read of a collector; it has little to say.
const ANSWER_BYTES_MAX: usize = 65_536;

/// How long the last spans may take when the process ends.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

pub(super) const ENDPOINT: Key = Key {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    default: None,
    doc: "Where an OpenTelemetry collector takes spans over HTTP, `http://host:4318` for instance; no spans when absent.",
};

/// The collector's address, without a slash at its end; `Some(None)` where none is named.
pub(super) fn read_endpoint(env: &mut Environment) -> Option<Option<String>> {
    let Some(endpoint) = env.optional::<String>(&ENDPOINT)? else {
        return Some(None);
    };
    let address = endpoint
        .strip_prefix("http://")
        .or_else(|| endpoint.strip_prefix("https://"));
    let is_address = |address: &str| !address.is_empty() && !address.contains(['@', '?', '#']);
    match address {
        Some(address) if is_address(address) && endpoint.parse::<::http::Uri>().is_ok() => {
            Some(Some(endpoint.trim_end_matches('/').to_owned()))
        }
        _ => env.refuse(&ENDPOINT, "must be http://host:port or https://host:port"),
    }
}

/// The way of spans to the collector.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Nothing is sent yet. The `runtime` does the sending.
    ///
    /// # Errors
    /// When the exporter refuses the address.
    pub(crate) fn open(
        endpoint: &str,
        name: &'static str,
        instance: &str,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let fault = LastFault::default();
        let courier = Courier {
            fault: fault.clone(),
            client: Client::builder(TokioExecutor::new()).build(http::connector(None)?),
            runtime: runtime.clone(),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(courier)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(SEND_WAIT)
            .build()?;
        let resource = Resource::builder_empty()
            .with_service_name(name)
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Reported::new(exporter, fault))
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    /// Takes our own spans.
    pub(super) fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let is_ours = filter_fn(|of| of.is_span() && of.target() == TARGET);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(TARGET))
            .with_filter(is_ours.with_max_level_hint(LevelFilter::DEBUG))
            .boxed()
    }

    /// Sends what is left, for a moment.
    pub(crate) fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_WAIT) {
            tracing::warn!(%error, "last spans did not reach the collector");
        }
    }
}

/// Sends from the process's own runtime: the thread that exports has none.
#[derive(Debug)]
struct Courier {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    fault: LastFault,
}

impl Courier {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let answer = client.request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await?
                .to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let timed = async move { tokio::time::timeout(SEND_WAIT, exchange).await };
        self.runtime.spawn(timed).await??
    }
}

#[async_trait::async_trait]
impl HttpClient for Courier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.send(request).await;
        if let Err(error) = &sent {
            self.fault.keep(error.as_ref());
        }
        sent
    }
}
