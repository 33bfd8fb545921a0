"""A desired state that uses every field of a container. ``recorded/`` shows it as engines do."""

from stack.docker.spec import (
    Attachment,
    Build,
    ConfigFile,
    Container,
    Desired,
    Gate,
    HealthCheck,
    LogConfig,
    Mount,
    Network,
    PublishedPort,
    Volume,
)

FOLDER = "/srv/recording"
APP, PLAIN, BUILT = "recording/app:1", "recording/plain:1", "recording/built:0123456789abcdef"

PLAIN_CONFIG = 'CMD ["/bin/sleep", "infinity"]'
APP_CONFIG = (
    'ENTRYPOINT ["/bin/sleep"]',
    'CMD ["infinity"]',
    "ENV PATH=/bin APP_MODE=image APP_EMPTY=",
    "EXPOSE 9000/tcp",
    "HEALTHCHECK --interval=90s --timeout=9s --start-period=19s --retries=9 CMD /bin/sleep 0",
    "LABEL app.version=1",
    "STOPSIGNAL SIGTERM",
    "USER 1000:1000",
    'VOLUME ["/var/lib/app", "/var/cache/app"]',
    "WORKDIR /srv",
)

FRONT = Network(
    "front",
    subnet="10.91.0.0/24",
    gateway="10.91.0.1",
    dynamic_range="10.91.0.128/25",
    options={"com.docker.network.driver.mtu": "1400"},
)
BACK = Network("back", subnet="10.92.0.0/24", gateway="10.92.0.1", dynamic_range="10.92.0.128/25")

EVERYTHING = Container(
    name="everything",
    image=APP,
    attachments=(
        Attachment("front", "10.91.0.2", ("www", "web")),
        Attachment("back", "10.92.0.2", ("app",)),
    ),
    command=("exec /bin/sleep infinity",),
    entrypoint=("/bin/sh", "-c"),
    environment={
        "APP_MODE": "site",
        "APP_URL": "http://plain:8000",
        "APP_PASSWORD_FILE": "/run/secrets/app",
        "APP_PASSWORD": "opensesame",
        "APP_NOTHING": "",
    },
    labels={"site.owner": "recording"},
    user="0:0",
    ports=(
        PublishedPort(8000, 18000, "127.0.0.1"),
        PublishedPort(8000, 18001, "0.0.0.0"),
        PublishedPort(53, 18053, "127.0.0.1", "udp"),
    ),
    mounts=(
        Mount("volume", "everything_data", "/var/lib/app"),
        Mount("volume", "shared_data", "/srv/shared", read_only=True),
        Mount("bind", f"{FOLDER}/everything", "/etc/app", read_only=True),
        Mount("bind", "/", "/host", read_only=True, propagation="rslave"),
    ),
    tmpfs={"/tmp": "", "/var/cache/app": "uid=1000,mode=0700"},
    health=HealthCheck("test -e /etc/app/app.conf", interval=60, timeout=7, retries=2),
    memory=64 * 1024**2,
    cpus=0.5,
    pids=50,
    shm_size=16 * 1024**2,
    ulimits={"nofile": "1024:2048", "core": "0", "nproc": "512:512"},
    cap_add=("NET_BIND_SERVICE", "CHOWN"),
    cap_drop=("ALL",),
    security=("no-new-privileges", "seccomp=unconfined"),
    read_only=True,
    log=LogConfig("json-file", {"max-size": "1m", "max-file": "2"}),
    stop_timeout=1,
    hostname="everything.example",
    extra_hosts=("registry.example:10.91.0.1", "gateway.example:host-gateway"),
    files=(
        ConfigFile(f"{FOLDER}/everything/app.conf", "answer = 42\n"),
        ConfigFile(f"{FOLDER}/everything/view.json", "{}\n", "0640", "1000:1000", live=True),
    ),
    gate=Gate("runs", "docker top everything"),
)
RELOADS = Container(
    name="reloads",
    image=APP,
    attachments=(Attachment("back", "10.92.0.3"),),
    restart="on-failure:3",
    mounts=(
        Mount("volume", "shared_data", "/srv/shared"),
        Mount("bind", f"{FOLDER}/reloads", "/etc/app"),
    ),
    health=HealthCheck("/bin/sleep 0"),
    files=(ConfigFile(f"{FOLDER}/reloads/app.conf", "answer = 43\n"),),
    reload="docker kill --signal=HUP reloads",
)
DEFAULTS = Container(
    name="defaults",
    image=APP,
    attachments=(Attachment("front", "10.91.0.4"),),
    restart="no",
)
PLAINEST = Container(
    name="plain",
    image=PLAIN,
    attachments=(Attachment("front", "10.91.0.5"),),
    restart="always",
    pid_mode="host",
)
ON_GPU = Container(
    name="on_gpu",
    image=BUILT,
    attachments=(Attachment("back", "10.92.0.6"),),
    build=Build("services/built", BUILT.partition(":")[2], base_image=PLAIN),
    security=("no-new-privileges",),
    pid_mode="host",
    gpus="all",
)

DESIRED = Desired(
    networks=(FRONT, BACK),
    volumes=(Volume("everything_data"), Volume("shared_data"), Volume("spare_data")),
    containers=(EVERYTHING, RELOADS, DEFAULTS, PLAINEST, ON_GPU),
)

# Options of ``docker create`` that no container of ours has, as somebody may have given them.
HAND_MADE = {
    "tuned": (
        "--cgroup-parent=/tuned",
        "--cpu-period=50000",
        "--cpu-quota=25000",
        "--cpu-shares=512",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
        "--device-cgroup-rule=c 1:3 r",
        "--device=/dev/null:/dev/nothing",
        "--dns-option=ndots:2",
        "--dns-search=example",
        "--dns=192.0.2.53",
        "--domainname=example",
        "--expose=1234",
        "--group-add=audio",
        "--init",
        "--interactive",
        "--link=plain",
        "--mac-address=02:42:ac:11:00:99",
        "--memory-reservation=32m",
        "--memory-swappiness=10",
        "--memory=64m",
        "--mount=type=tmpfs,target=/scratch,tmpfs-size=16m",
        "--mount=type=volume,source=spare_data,target=/srv/spare,volume-nocopy",
        "--no-healthcheck",
        "--oom-score-adj=500",
        "--publish=127.0.0.1::8000",
        "--publish=18002:8001",
        "--security-opt=systempaths=unconfined",
        "--stop-timeout=0",
        "--sysctl=net.core.somaxconn=1024",
        "--tty",
        "--userns=host",
        "--volume=/var/anonymous",
        "--volumes-from=reloads",
    ),
    "opened": (
        "--ipc=shareable",
        "--memory-swap=-1",
        "--memory=64m",
        "--network=host",
        "--oom-kill-disable",
        "--privileged",
        "--publish-all",
        "--rm",
        "--uts=host",
    ),
}
