# What a container gets with the lab's card, and whether it asks for it.
package LabGpu;

use strict;
use warnings;
use JSON::PP;

my $kernel = '/run/lab-gpu';
my $libraries = '/usr/lib/x86_64-linux-gnu';
my $json = JSON::PP->new->utf8->canonical->indent->indent_length(4)->space_after;

sub read_text {
    my ($path) = @_;
    open my $file, '<', $path or die "open $path: \l$!\n";
    local $/;
    return scalar <$file>;
}

sub write_text {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "open $path: \l$!\n";
    print {$file} $text;
    close $file or die "write $path: \l$!\n";
}

sub decode { return $json->decode($_[0]) }

sub encode { return $json->encode($_[0]) }

# Refuse as libnvidia-container does when the driver cannot be used.
sub require_driver {
    my ($library) = map { /\.so\.([\d.]+)$/ } glob "$libraries/libnvidia-ml.so.*.*";
    my $loaded = eval { read_text("$kernel/module/version") };
    die "initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file\n"
        unless $library;
    die "initialization error: nvml error: driver not loaded\n" unless $loaded;
    chomp $loaded;
    die "initialization error: nvml error: driver/library version mismatch\n" if $library ne $loaded;
    system 'nvidia-modprobe', '-u', '-c=0';
}

# [path, major, minor] of every device file of the card.
sub devices {
    return map { [$_, (stat)[6] >> 8 & 0xfff, (stat)[6] & 0xff] }
        grep { -c } map { "/dev/$_" } qw(nvidiactl nvidia0 nvidia-uvm nvidia-uvm-tools);
}

# Files and directories of the host that the driver's user space consists of.
sub files {
    return grep { -e } '/usr/bin/nvidia-smi', glob("$libraries/lib{nvidia-*,cuda}.so.*"), $kernel;
}

sub environment {
    my ($spec) = @_;
    return map { /^([^=]+)=(.*)$/s } @{ $spec->{process}{env} // [] };
}

# Whether the container of an OCI specification asks for the card.
sub is_wanted {
    my ($spec) = @_;
    my %environment = environment($spec);
    return ($environment{NVIDIA_VISIBLE_DEVICES} // '') !~ /^(void|none|)$/;
}

1;
