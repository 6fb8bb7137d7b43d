# Puts a disk image that was baked and proven elsewhere onto a Hetzner server's disk, from its rescue
# system, and takes a snapshot. Valid on Packer 1.6.6 and on today's; what varies is a variable.

packer {
  required_version = ">= 1.6.6"
}

variable "image" {
  type        = string
  description = "The image's id: the snapshot's name."
}

variable "labels" {
  type        = map(string)
  description = "What the snapshot is told about itself."
}

variable "server" {
  type        = string
  description = "The temporary server's name."
}

variable "send" {
  type        = string
  description = "Run here while the rescue system is up: streams the disk and reads it back."
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

source "hcloud" "transfer" {
  token           = var.hcloud_token
  endpoint        = var.hcloud_endpoint
  image           = var.hcloud_image
  location        = var.hcloud_location
  server_type     = var.hcloud_server_type
  server_name     = var.server
  rescue          = "linux64"
  snapshot_name   = var.image
  snapshot_labels = var.labels
  ssh_username    = "root"
}

build {
  sources = ["source.hcloud.transfer"]

  provisioner "shell-local" {
    environment_vars = ["RESCUE_HOST=${build.Host}", "RESCUE_PORT=${build.Port}", "RESCUE_KEY=${build.SSHPrivateKey}"]
    inline           = [var.send]
  }

  post-processor "manifest" {
    output      = var.manifest
    custom_data = var.labels
  }
}
