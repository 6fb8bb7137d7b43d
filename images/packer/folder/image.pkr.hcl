# Bakes one image on a rented server, or in qemu, from a vendor's Debian image and bake.yaml.
# Valid on Packer 1.6.6 and on today's; all that varies is a variable (image.auto.pkrvars.json).

packer {
  required_version = ">= 1.6.6"
}

variable "image" {
  type        = string
  description = "The image's id: the snapshot's name."
}

variable "labels" {
  type        = map(string)
  description = "What the snapshot is told about itself: hcloud labels, and custom data in the manifest."
}

variable "server" {
  type        = string
  description = "The temporary server's name."
}

variable "epoch" {
  type        = string
  description = "The lock's clock, seconds since 1970."
}

variable "cloud_init" {
  type        = string
  description = "The locked version of cloud-init, which runs bake.yaml."
}

variable "user_data" {
  type        = string
  default     = ""
  description = "First-boot data of the temporary server; empty for none."
}

variable "ssh_username" {
  type        = string
  default     = "root"
  description = "The account that Packer logs in to; it is root or has sudo without password."
}

variable "ssh_private_key_file" {
  type        = string
  default     = ""
  description = "A private key that opens the base image; empty where Packer makes a temporary one."
}

variable "ssh_timeout" {
  type        = string
  default     = "10m"
  description = "How long the temporary server may take until it lets us in."
}

variable "verify" {
  type        = string
  default     = "echo 'no gate is set: the snapshot is not proven'"
  description = "Run here once the server is baked and before it is sealed; a failure takes no snapshot."
}

variable "manifest" {
  type        = string
  default     = "manifest.json"
  description = "Where to write what was made."
}

variable "hcloud_token" {
  type      = string
  default   = env("HCLOUD_TOKEN")
  sensitive = true
}

variable "hcloud_endpoint" {
  type    = string
  default = env("HCLOUD_ENDPOINT")
}

variable "hcloud_image" {
  type    = string
  default = "debian-13"
}

variable "hcloud_location" {
  type    = string
  default = "fsn1"
}

variable "hcloud_server_type" {
  type    = string
  default = "cx23"
}

variable "digitalocean_token" {
  type      = string
  default   = env("DIGITALOCEAN_TOKEN")
  sensitive = true
}

variable "digitalocean_api_url" {
  type    = string
  default = env("DIGITALOCEAN_API_URL")
}

variable "digitalocean_image" {
  type    = string
  default = "debian-13-x64"
}

variable "digitalocean_region" {
  type    = string
  default = "fra1"
}

variable "digitalocean_size" {
  type    = string
  default = "s-1vcpu-1gb"
}

variable "qemu_base" {
  type        = string
  default     = "base.qcow2"
  description = "The vendor's disk image."
}

variable "qemu_checksum" {
  type        = string
  default     = "none"
  description = "The disk image's checksum, as in sha256:..."
}

variable "qemu_seed" {
  type        = string
  default     = "seed"
  description = "A folder with user-data and meta-data: the first-boot data of the base image."
}

variable "qemu_accelerator" {
  type    = string
  default = "none"
}

variable "qemu_disk_size" {
  type    = string
  default = "4096M"
}

variable "qemu_output" {
  type    = string
  default = "output"
}

locals {
  there = "/var/tmp/bakehouse-bake"
  root  = "chmod 0755 '{{ .Path }}' && $(test $(id -u) = 0 || echo sudo -n) env {{ .Vars }} '{{ .Path }}'"
}

source "hcloud" "image" {
  token                    = var.hcloud_token
  endpoint                 = var.hcloud_endpoint
  image                    = var.hcloud_image
  location                 = var.hcloud_location
  server_type              = var.hcloud_server_type
  server_name              = var.server
  snapshot_name            = var.image
  snapshot_labels          = var.labels
  user_data                = var.user_data
  ssh_username             = var.ssh_username
  ssh_private_key_file     = var.ssh_private_key_file
  ssh_timeout              = var.ssh_timeout
  ssh_file_transfer_method = "sftp"
}

source "digitalocean" "image" {
  api_token                = var.digitalocean_token
  api_url                  = var.digitalocean_api_url
  image                    = var.digitalocean_image
  region                   = var.digitalocean_region
  size                     = var.digitalocean_size
  droplet_name             = var.server
  ipv6                     = true
  snapshot_name            = var.image
  user_data                = var.user_data
  ssh_username             = var.ssh_username
  ssh_private_key_file     = var.ssh_private_key_file
  ssh_timeout              = var.ssh_timeout
  ssh_file_transfer_method = "sftp"
}

source "qemu" "image" {
  disk_image               = true
  iso_url                  = var.qemu_base
  iso_checksum             = var.qemu_checksum
  format                   = "raw"
  disk_size                = var.qemu_disk_size
  disk_interface           = "virtio"
  disk_cache               = "unsafe"
  disk_discard             = "unmap"
  output_directory         = var.qemu_output
  vm_name                  = "image.raw"
  accelerator              = var.qemu_accelerator
  cpus                     = 2
  memory                   = 2048
  headless                 = true
  boot_wait                = "1s"
  shutdown_command         = "$(test $(id -u) = 0 || echo sudo -n) systemctl poweroff"
  shutdown_timeout         = "10m"
  ssh_username             = var.ssh_username
  ssh_private_key_file     = var.ssh_private_key_file
  ssh_timeout              = var.ssh_timeout
  ssh_file_transfer_method = "sftp"

  # cloud-init's NoCloud source finds a disk by the label CIDATA; QEMU makes one of a folder. It has
  # the last place on the bus: the BIOS boots from the first disk there.
  qemuargs = [
    ["-display", "none"],
    ["-cpu", "max"],
    ["-blockdev", "driver=vvfat,node-name=seed,read-only=on,label=CIDATA,dir=${var.qemu_seed}"],
    ["-device", "virtio-net,netdev=user.0"],
    ["-device", "virtio-blk-pci,drive=seed,addr=0x1e"],
    ["-device", "virtio-rng-pci"]
  ]
}

build {
  sources = ["source.hcloud.image", "source.digitalocean.image", "source.qemu.image"]

  provisioner "shell" {
    execute_command = local.root
    inline = [
      "cloud-init status --wait >/dev/null || true",
      "rm -rf ${local.there} && mkdir ${local.there} && chown \"$${SUDO_UID:-0}:$${SUDO_GID:-0}\" ${local.there}"
    ]
  }

  provisioner "file" {
    sources     = ["${path.root}/repo", "${path.root}/payload", "${path.root}/bake.yaml", "${path.root}/seal.py"]
    destination = "${local.there}/"
  }

  provisioner "shell" {
    execute_command  = local.root
    environment_vars = ["SOURCE_DATE_EPOCH=${var.epoch}", "CLOUD_INIT=${var.cloud_init}", "THERE=${local.there}"]
    script           = "${path.root}/bake.sh"
  }

  provisioner "shell-local" {
    environment_vars = ["BAKED_HOST=${build.Host}", "BAKED_PORT=${build.Port}"]
    inline           = [var.verify]
  }

  provisioner "shell" {
    execute_command  = local.root
    environment_vars = ["SOURCE_DATE_EPOCH=${var.epoch}", "THERE=${local.there}"]
    script           = "${path.root}/seal.sh"
  }

  post-processor "manifest" {
    output      = var.manifest
    custom_data = var.labels
  }
}
