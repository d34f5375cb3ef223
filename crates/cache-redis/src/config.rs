//! Where the server is.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo,
};
#[cfg(feature = "tls")]
use redis::{ClientTlsConfig, TlsCertificates};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::options::Options;
use crate::pool::Pool;

/// Where Redis is, and how to connect to it.
///
/// It is read from a configuration file, or from a URL:
///
/// | URL | |
/// |---|---|
/// | `redis://user:password@host:port/database` | one server |
/// | `rediss://…` | one server, over TLS |
/// | `redis+unix:///path/to/socket` | one server on this machine |
/// | `redis-cluster://host:port,host:port` | a cluster; `rediss-cluster://` over TLS |
/// | `redis-sentinel://host:port,host:port/master-name/database` | the primary that sentinels name; `rediss-sentinel://` over TLS |
///
/// All but the host are optional; user and password are percent-encoded. Parameters can follow:
/// `?namespace=`, `?resp3=true`, `?db=`, `?ca_file=`, and for a Unix socket `?user=` and `?pass=`.
///
/// ```
/// use cache_redis::RedisConfig;
///
/// let config: RedisConfig = "redis://cache.internal:6380/2?namespace=catalogue".parse()?;
/// assert_eq!(config.nodes, ["cache.internal:6380"]);
/// assert_eq!(config.database, 2);
///
/// let wrong = "redis://cache.internal:port".parse::<RedisConfig>().unwrap_err();
/// assert!(wrong.to_string().contains("write a number from 1 to 65535"));
/// # Ok::<(), cache_redis::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written out with ..default()"
)]
pub struct RedisConfig {
    /// What answers there. Default: one server.
    pub deployment: Deployment,
    /// The server, or some nodes of the cluster, or the sentinels, each as `host` or `host:port`.
    /// Default: `127.0.0.1:6379`.
    pub nodes: Vec<String>,
    /// The server's socket on this machine, in the place of a node.
    pub unix_socket: Option<PathBuf>,
    /// What sentinels call the primary.
    pub master_name: Option<String>,
    /// The number of the database. Default: 0.
    pub database: i64,
    /// The user, where the server has more than the default one.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Password>,
    /// The user at the sentinels.
    pub sentinel_username: Option<String>,
    /// The password at the sentinels.
    pub sentinel_password: Option<Password>,
    /// TLS; without it nothing is encrypted.
    pub tls: Option<Tls>,
    /// Whether to speak RESP3 in the place of RESP2. Default: no.
    pub resp3: bool,
    /// How many connections the pool has at most, from 2 to 10,000. Default: 8. It does not bound those of a
    /// backend, which takes one for each lane and one more out of the pool for good.
    pub pool_size: usize,
    /// How to store.
    pub options: Options,
}

/// What answers at the nodes of a [`RedisConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Deployment {
    /// One server.
    #[default]
    Single,
    /// Redis Cluster.
    Cluster,
    /// Sentinels, which name the server.
    Sentinel,
}

/// How to encrypt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written out with ..default()"
)]
pub struct Tls {
    /// A PEM file with the certificates that the server's must be signed by. Default: those that the
    /// system trusts.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate of this client.
    pub certificate_file: Option<PathBuf>,
    /// A PEM file with its private key.
    pub key_file: Option<PathBuf>,
}

/// A password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error of a string would show what is there in its place.
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Password;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a password in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Password, E> {
                Ok(text.into())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Password, E> {
                Err(E::custom("a password has to be in quotes"))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Password, E> {
                self.visit_bool(false)
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Password, E> {
                self.visit_bool(false)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Password, E> {
                self.visit_bool(false)
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Password, E> {
                self.visit_bool(false)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Password, E> {
                self.visit_bool(false)
            }

            fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Password, E> {
                self.visit_bool(false)
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl From<String> for Password {
    fn from(password: String) -> Self {
        Self(password)
    }
}

impl From<&str> for Password {
    fn from(password: &str) -> Self {
        Self(password.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            deployment: Deployment::Single,
            nodes: vec!["127.0.0.1:6379".to_owned()],
            unix_socket: None,
            master_name: None,
            database: 0,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            tls: None,
            resp3: false,
            pool_size: 8,
            options: Options::default(),
        }
    }
}

impl FromStr for RedisConfig {
    type Err = ConfigError;

    fn from_str(url: &str) -> Result<Self, ConfigError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| ConfigError::new("the URL has no scheme", SCHEMES))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut config = Self::default();
        match scheme {
            "redis" | "rediss" | "valkey" | "valkeys" => {}
            "redis-cluster" | "rediss-cluster" => config.deployment = Deployment::Cluster,
            "redis-sentinel" | "rediss-sentinel" => config.deployment = Deployment::Sentinel,
            "redis+unix" | "valkey+unix" | "unix" => {
                config.unix_socket = Some(decode("path", rest)?.into());
            }
            _ => return Err(ConfigError::unknown_scheme(SCHEMES)),
        }
        if matches!(
            scheme,
            "rediss" | "valkeys" | "rediss-cluster" | "rediss-sentinel"
        ) {
            config.tls = Some(Tls::default());
        }
        if config.unix_socket.is_none() {
            config.read_authority_and_path(rest)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            config.read_parameter(name, decode(name, value)?)?;
        }
        config.check()?;
        Ok(config)
    }
}

impl RedisConfig {
    fn read_authority_and_path(&mut self, rest: &str) -> Result<(), ConfigError> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, nodes) = match authority.rsplit_once('@') {
            Some((user, nodes)) => (user, nodes),
            None => ("", authority),
        };
        let (username, password) = match user.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (user, None),
        };
        if !username.is_empty() {
            self.username = Some(decode("user", username)?);
        }
        if let Some(password) = password {
            self.password = Some(Password(decode("password", password)?));
        }
        self.nodes = nodes.split(',').map(str::to_owned).collect();
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        if self.deployment == Deployment::Sentinel {
            self.master_name = segments
                .next()
                .map(|name| decode("master name", name))
                .transpose()?;
        }
        if let Some(database) = segments.next() {
            self.database = number("database", database)?;
        }
        match segments.next() {
            Some(_) => Err(ConfigError::new(
                "there is too much in the path of the URL",
                SCHEMES,
            )),
            None => Ok(()),
        }
    }

    fn read_parameter(&mut self, name: &str, value: String) -> Result<(), ConfigError> {
        match name {
            "db" => self.database = number("database", &value)?,
            "user" => self.username = Some(value),
            "pass" => self.password = Some(Password(value)),
            "resp3" if value == "true" => self.resp3 = true,
            "resp3" if value == "false" => self.resp3 = false,
            "resp3" => {
                let problem = "resp3 is neither true nor false";
                return Err(ConfigError::new(problem, "write resp3=true or resp3=false"));
            }
            "ca_file" => self.tls.get_or_insert_default().ca_file = Some(value.into()),
            "namespace" => {
                self.options.namespace = value
                    .parse()
                    .map_err(|error| ConfigError::new(format!("{error}"), "").with_source(error))?;
            }
            _ => {
                return Err(ConfigError::new(
                    "a parameter of the URL is not known",
                    "write db, user, pass, resp3, ca_file or namespace, and percent-encode what is \
                     in a password",
                ));
            }
        }
        Ok(())
    }

    /// What cannot be, whoever wrote it.
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |problem: &str, remedy| Err(ConfigError::new(problem, remedy));
        if self.unix_socket.is_some() && self.deployment != Deployment::Single {
            return wrong(
                "a Unix socket leads to one server only",
                "name nodes for a cluster or sentinels",
            );
        }
        if self.unix_socket.is_some() && self.tls.is_some() {
            return wrong("there is no TLS over a Unix socket", "leave tls out");
        }
        if self
            .unix_socket
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return wrong(
                "the path of the socket is empty",
                "write redis+unix:///path/to/socket",
            );
        }
        if self.unix_socket.is_none() && self.nodes.is_empty() {
            return wrong("no node is named", "write at least one host:port");
        }
        if self.deployment == Deployment::Single && self.nodes.len() > 1 {
            return wrong(
                "there are several nodes for one server",
                "write one, or redis-cluster:// or redis-sentinel://",
            );
        }
        if self.database < 0 {
            return wrong(
                "the database is no number from 0",
                "leave it out, or write 0 to 15",
            );
        }
        let master_name = self.master_name.as_deref().filter(|name| !name.is_empty());
        match (master_name, self.deployment) {
            (None, Deployment::Sentinel) => {
                return wrong(
                    "sentinels are asked for no primary",
                    "write master_name, or redis-sentinel://host:port/master-name",
                );
            }
            (Some(_), Deployment::Single | Deployment::Cluster) => {
                return wrong(
                    "a master name is of use to sentinels only",
                    "leave it out, or write deployment = \"sentinel\"",
                );
            }
            _ => {}
        }
        if self.deployment == Deployment::Cluster && self.database != 0 {
            return wrong("a cluster has database 0 only", "use a namespace");
        }
        if self.pool_size < 2 {
            return wrong("the pool is too small", "write a pool_size of 2 or more");
        }
        if self.pool_size > MOST_CONNECTIONS {
            return wrong(
                "the pool is too large",
                "write a pool_size of 10000 or less",
            );
        }
        if self.options.lanes > MOST_CONNECTIONS {
            return wrong("there are too many lanes", "write lanes of 10000 or less");
        }
        if cfg!(not(feature = "tls")) && self.tls.is_some() {
            return wrong("TLS is not compiled in", "enable the feature tls");
        }
        self.addresses().map(drop)
    }

    /// A pool of connections to it. It connects when it is first used.
    ///
    /// # Errors
    ///
    /// Where the configuration makes no sense, or a certificate cannot be read; never because of the
    /// server.
    pub fn pool(&self) -> Result<Pool, ConfigError> {
        self.check()?;
        let certificates = self.certificates()?;
        match self.deployment {
            Deployment::Single => self.single(certificates),
            #[cfg(feature = "cluster")]
            Deployment::Cluster => self.cluster(certificates),
            #[cfg(feature = "sentinel")]
            Deployment::Sentinel => self.sentinel(certificates),
            #[cfg(not(all(feature = "cluster", feature = "sentinel")))]
            _ => Err(ConfigError::new(
                "this deployment is not compiled in",
                "enable the feature cluster or sentinel",
            )),
        }
    }

    fn single(&self, certificates: Option<TlsCertificates>) -> Result<Pool, ConfigError> {
        let address = match &self.unix_socket {
            Some(path) => ConnectionAddr::Unix(path.clone()),
            None => self.addresses()?.swap_remove(0),
        };
        let info = connection_info(address)?.set_redis_settings(self.settings());
        let info = match certificates {
            #[cfg(feature = "tls")]
            Some(certificates) => redis::Client::build_with_tls(info, certificates)
                .map_err(refused)?
                .get_connection_info()
                .clone(),
            _ => info,
        };
        let connection = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout));
        let manager =
            deadpool_redis::Manager::new_with_config(info, connection).map_err(refused)?;
        deadpool_redis::Pool::builder(manager)
            .max_size(self.pool_size)
            .runtime(deadpool_redis::Runtime::Tokio1)
            .build()
            .map(Pool::from)
            .map_err(|error| ConfigError::new("no pool can be made", "").with_source(error))
    }

    #[cfg(feature = "cluster")]
    fn cluster(&self, certificates: Option<TlsCertificates>) -> Result<Pool, ConfigError> {
        let nodes: Vec<_> = self
            .addresses()?
            .into_iter()
            .map(|address| Ok(connection_info(address)?.set_redis_settings(self.settings())))
            .collect::<Result<_, ConfigError>>()?;
        let builder = redis::cluster::ClusterClient::builder(nodes)
            .connection_timeout(self.options.connect_timeout)
            .response_timeout(self.options.response_timeout);
        #[cfg(feature = "tls")]
        let builder = match certificates {
            Some(certificates) => builder.tls(redis::TlsMode::Secure).certs(certificates),
            None => builder,
        };
        #[cfg(not(feature = "tls"))]
        let None = certificates;
        builder.build().map(Pool::from).map_err(refused)
    }

    #[cfg(feature = "sentinel")]
    fn sentinel(&self, certificates: Option<TlsCertificates>) -> Result<Pool, ConfigError> {
        use redis::sentinel::{SentinelClientBuilder, SentinelServerType};

        let name = self.master_name.as_deref().unwrap_or_default();
        let mut builder =
            SentinelClientBuilder::new(self.addresses()?, name, SentinelServerType::Master)
                .map_err(refused)?
                .set_client_to_redis_db(self.database)
                .set_client_to_redis_protocol(self.protocol());
        if let Some(username) = &self.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(&password.0);
        }
        if let Some(username) = &self.sentinel_username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &self.sentinel_password {
            builder = builder.set_client_to_sentinel_password(&password.0);
        }
        #[cfg(feature = "tls")]
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        #[cfg(not(feature = "tls"))]
        let None = certificates;
        builder.build().map(Pool::from).map_err(refused)
    }

    fn settings(&self) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default()
            .set_db(self.database)
            .set_protocol(self.protocol());
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(&password.0);
        }
        settings
    }

    fn protocol(&self) -> ProtocolVersion {
        if self.resp3 {
            ProtocolVersion::RESP3
        } else {
            ProtocolVersion::RESP2
        }
    }

    fn addresses(&self) -> Result<Vec<ConnectionAddr>, ConfigError> {
        let default_port = match self.deployment {
            Deployment::Sentinel => 26379,
            _ => 6379,
        };
        // What is wrong is not quoted: it may be a password that was not percent-encoded.
        let address = |node: &String| {
            let Some((host, port)) = split_port(node) else {
                return Err(ConfigError::new(
                    "a node is neither host nor host:port",
                    "write host:port, and an IPv6 address in brackets",
                ));
            };
            let port = match port {
                Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                    ConfigError::new(
                        "the port of a node is none",
                        "write a number from 1 to 65535",
                    )
                })?,
                None => default_port,
            };
            let host = host.to_owned();
            Ok(match self.tls {
                Some(_) => ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: false,
                    tls_params: None,
                },
                None => ConnectionAddr::Tcp(host, port),
            })
        };
        self.nodes.iter().map(address).collect()
    }

    /// None: what asks for some is refused before.
    #[cfg(not(feature = "tls"))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "it is as it is with TLS"
    )]
    fn certificates(&self) -> Result<Option<TlsCertificates>, ConfigError> {
        Ok(None)
    }

    #[cfg(feature = "tls")]
    fn certificates(&self) -> Result<Option<TlsCertificates>, ConfigError> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| {
                let problem = format!("{} cannot be read", path.display());
                ConfigError::new(problem, "name a PEM file").with_source(error)
            })
        };
        let client_tls = match (&tls.certificate_file, &tls.key_file) {
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: read(certificate)?,
                client_key: read(key)?,
            }),
            (None, None) => None,
            _ => {
                return Err(ConfigError::new(
                    "a certificate of this client needs its key, and the other way round",
                    "write both certificate_file and key_file",
                ));
            }
        };
        Ok(Some(TlsCertificates {
            client_tls,
            root_cert: tls.ca_file.as_ref().map(read).transpose()?,
        }))
    }
}

/// There are none.
#[cfg(not(feature = "tls"))]
type TlsCertificates = std::convert::Infallible;

/// Host and port; an IPv6 address stands in brackets.
fn split_port(node: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':')?),
            };
            (host, port)
        }
        None => match node.split_once(':') {
            Some((_, port)) if port.contains(':') => return None,
            Some((host, port)) => (host, Some(port)),
            None => (node, None),
        },
    };
    (!host.is_empty()).then_some((host, port))
}

fn connection_info(address: ConnectionAddr) -> Result<ConnectionInfo, ConfigError> {
    address.into_connection_info().map_err(refused)
}

fn refused(error: redis::RedisError) -> ConfigError {
    ConfigError::new("the client refuses it", "").with_source(error)
}

fn decode(what: &str, text: &str) -> Result<String, ConfigError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(ConfigError::new(
            format!("the {what} is not UTF-8"),
            "percent-encode it",
        )),
    }
}

fn number(what: &str, text: &str) -> Result<i64, ConfigError> {
    match text.parse() {
        Ok(number) if number >= 0 => Ok(number),
        // It is not quoted: it may be the end of a password that was not percent-encoded.
        _ => Err(ConfigError::new(
            format!("the {what} is no number"),
            "write a number from 0, and percent-encode what is in a password",
        )),
    }
}

/// The configuration makes no sense.
#[derive(Debug)]
pub struct ConfigError {
    problem: String,
    remedy: &'static str,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ConfigError {
    pub(crate) fn new(problem: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            problem: problem.into(),
            remedy,
            source: None,
        }
    }

    pub(crate) fn unknown_scheme(remedy: &'static str) -> Self {
        Self::new("the scheme of the URL is not known", remedy)
    }

    fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl StdError for ConfigError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The schemes of all URLs that are read.
#[cfg(feature = "memory")]
pub(crate) const KNOWN: [&str; 11] = [
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "redis+unix",
    "valkey+unix",
    "unix",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
];

/// As many as a server takes by default.
const MOST_CONNECTIONS: usize = 10_000;

const SCHEMES: &str = "write redis://host:port, rediss://, redis+unix:///path, redis-cluster:// or \
                       redis-sentinel://";
