//! Competing traffic. Its parameters may stand beside `kind`, or in a table named after it: `web = { flows = 10 }`,
//! `kind = { web = { flows = 10 } }`.

use super::numbers::{Flows, Gap, Seconds, checked};
use super::units::{Rate, Size};
use serde::{Deserialize, Deserializer};

/// Competing traffic on a path.
#[derive(Clone, Debug)]
pub struct Flow {
    /// What sort.
    pub kind: FlowKind,
    /// The path.
    pub path: String,
    /// When it begins.
    pub from_s: f64,
    /// When it ends; default: never.
    pub to_s: Option<f64>,
}

/// What sort of traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowKind {
    /// One long-lived CUBIC connection.
    Tcp,
    /// Connections that fetch something, wait and fetch again.
    Web {
        /// How many at once.
        flows: usize,
        /// Smallest and largest thing fetched.
        size: (Size, Size),
        /// Mean wait between two fetches.
        gap_s: f64,
    },
    /// Packets at a constant rate.
    Udp {
        /// The rate on the wire.
        rate: Rate,
    },
}

/// The parameters of every kind, wherever they stand.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(default, deserialize_with = "checked::<_, Option<Flows>, _>")]
    flows: Option<usize>,
    size: Option<(Size, Size)>,
    #[serde(default, deserialize_with = "checked::<_, Option<Gap>, _>")]
    gap_s: Option<f64>,
    rate: Option<Rate>,
}

impl Parameters {
    /// Refuses what a flow of this kind does not have.
    fn check(&self, kind: &str) -> Result<(), String> {
        let web = self.flows.is_some() || self.size.is_some() || self.gap_s.is_some();
        match kind {
            "web" if self.rate.is_some() => Err("a web flow has flows, size and gap_s, no rate".into()),
            "udp" if web => Err("a udp flow has a rate only".into()),
            "tcp" if web || self.rate.is_some() => Err("a tcp flow has no parameters".into()),
            _ => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Tcp,
    Web(Parameters),
    Udp(Parameters),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: KindEntry,
    path: String,
    #[serde(default, deserialize_with = "checked::<_, Seconds, _>")]
    from_s: f64,
    #[serde(default, deserialize_with = "checked::<_, Option<Seconds>, _>")]
    to_s: Option<f64>,
    web: Option<Parameters>,
    udp: Option<Parameters>,
    #[serde(default, deserialize_with = "checked::<_, Option<Flows>, _>")]
    flows: Option<usize>,
    size: Option<(Size, Size)>,
    #[serde(default, deserialize_with = "checked::<_, Option<Gap>, _>")]
    gap_s: Option<f64>,
    rate: Option<Rate>,
}

/// `"web"`, or `{ web = { .. } }`.
struct KindEntry {
    name: &'static str,
    parameters: Option<Parameters>,
}

impl<'de> Deserialize<'de> for KindEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = KindEntry;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"tcp\", \"web\" or \"udp\"")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<KindEntry, E> {
                let name = ["tcp", "web", "udp"].into_iter().find(|known| *known == name);
                let name = name.ok_or_else(|| E::custom("a flow is \"tcp\", \"web\" or \"udp\""))?;
                Ok(KindEntry { name, parameters: None })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<KindEntry, A::Error> {
                let kind = Kind::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(match kind {
                    Kind::Tcp => KindEntry { name: "tcp", parameters: None },
                    Kind::Web(parameters) => KindEntry { name: "web", parameters: Some(parameters) },
                    Kind::Udp(parameters) => KindEntry { name: "udp", parameters: Some(parameters) },
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Flow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let entry = Entry::deserialize(deserializer)?;
        let beside = Parameters { flows: entry.flows, size: entry.size, gap_s: entry.gap_s, rate: entry.rate };
        let name = entry.kind.name;
        let mut given = Vec::from_iter(entry.kind.parameters);
        for (table, parameters) in [("web", entry.web), ("udp", entry.udp)] {
            if parameters.is_some() && table != name {
                return Err(D::Error::custom(format!("a {name} flow has no table {table:?}")));
            }
            given.extend(parameters);
        }
        if beside != Parameters::default() {
            given.push(beside);
        }
        if given.len() > 1 {
            return Err(D::Error::custom("the parameters of a flow stand in one place: beside kind, or in a table"));
        }
        let parameters = given.pop().unwrap_or_default();
        parameters.check(name).map_err(D::Error::custom)?;
        let kind = match entry.kind.name {
            "web" => FlowKind::Web {
                flows: parameters.flows.unwrap_or(10),
                size: parameters.size.unwrap_or((Size(30_000), Size(50_000))),
                gap_s: parameters.gap_s.unwrap_or(5.0),
            },
            "udp" => {
                FlowKind::Udp { rate: parameters.rate.ok_or_else(|| D::Error::custom("a udp flow needs a rate"))? }
            }
            _ => FlowKind::Tcp,
        };
        Ok(Flow { kind, path: entry.path, from_s: entry.from_s, to_s: entry.to_s })
    }
}
