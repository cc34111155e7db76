bill as materialized (
  -- the bill of each kit; in one place of the sequence a variant's own comes first
  select distinct on (p.id) p.id as product, b.id, b.product_qty as batch, b.product_uom_id as uom
    from mrp_bom b
    join product_product p on p.id = b.product_id or b.product_id is null and p.product_tmpl_id = b.product_tmpl_id
    cross join company
   where b.type = 'phantom' and b.active and (b.company_id is null or b.company_id = company.id)
   order by p.id, b.sequence, b.product_id, b.id
), line as (
  -- lines that hold for a kit: of each attribute that a line names, one value is the variant's
  select bill.product as kit, bill.batch, bill.uom as kit_uom, l.product_id as part, l.product_qty as quantity, l.product_uom_id as uom
    from bill join mrp_bom_line l on l.bom_id = bill.id
   where (select count(distinct v.attribute_id)
            from mrp_bom_line_product_template_attribute_value_rel r
            join product_template_attribute_value v on v.id = r.product_template_attribute_value_id
           where r.mrp_bom_line_id = l.id)
       = (select count(*)
            from mrp_bom_line_product_template_attribute_value_rel r
            join product_variant_combination c on c.product_template_attribute_value_id = r.product_template_attribute_value_id
           where r.mrp_bom_line_id = l.id and c.product_product_id = bill.product)
), opened as (
  -- kits in kits, down to what is no kit
  select line.kit, line.batch, line.part, line.quantity, line.uom, array[line.kit, line.part] as path
    from item join line on line.kit = item.id
  union all
  select o.kit, o.batch, line.part, line.quantity * o.quantity / line.batch * inner_.factor / outer_.factor, line.uom,
         o.path || line.part
    from opened o
    join line on line.kit = o.part and line.part <> all(o.path)
    join uom_uom outer_ on outer_.id = o.uom
    join uom_uom inner_ on inner_.id = line.kit_uom
), part as materialized (
  -- for one batch, in the part's own unit
  select o.kit, o.batch, o.part, own.rounding as unit,
         sum(ceil(round(o.quantity / u.rounding, 6)) * u.rounding * own.factor / u.factor) as quantity
    from opened o
    join product_product p on p.id = o.part
    join product_template t on t.id = p.product_tmpl_id and t.is_storable
    join uom_uom own on own.id = t.uom_id
    join uom_uom u on u.id = o.uom
   where not exists (select from bill where bill.product = o.part)
   group by 1, 2, 3, 4
  having sum(o.quantity) > 0
)
